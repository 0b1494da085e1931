// Adds to each long text a button that copies it. Words come from the page, so that they are translated.
const words = document.querySelector("[data-djqueue-copy]")?.dataset;

async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) {
        await navigator.clipboard.writeText(text);
        return;
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "djqueue-copied";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}

for (const block of words ? document.querySelectorAll("pre.djqueue-text") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "djqueue-copy";
    button.textContent = words.djqueueCopy;
    button.addEventListener("click", async () => {
        await copy(block.textContent);
        button.textContent = words.djqueueCopied;
        setTimeout(() => {
            button.textContent = words.djqueueCopy;
        }, 2000);
    });
    const frame = document.createElement("div");
    frame.className = "djqueue-copyable";
    block.replaceWith(frame);
    frame.append(block, button);
}
