// The dashboard's live part: asked for again and again while the page is seen, and replaced where it has changed.

const KEPT = "djqueue-rate";
const live = document.getElementById("djqueue-live");
const rate = document.getElementById("djqueue-rate");
const said = document.getElementById("djqueue-said");
let etag = live.dataset.etag;
let timer = 0;
let asking = null;

function again() {
    clearTimeout(timer);
    const seconds = Number(rate.value);
    if (seconds > 0 && !document.hidden) {
        timer = setTimeout(ask, seconds * 1000);
    }
}

async function ask() {
    asking?.abort();
    asking = new AbortController();
    const signal = asking.signal;
    try {
        const answer = await fetch(live.dataset.url, {
            credentials: "same-origin", headers: { "If-None-Match": etag }, cache: "no-store", signal,
        });
        // Who was logged out is sent to a page that is not ours.
        if (answer.redirected || !(answer.ok || answer.status === 304)) {
            throw new Error(answer.statusText);
        }
        if (answer.status === 200) {
            const text = await answer.text();
            etag = answer.headers.get("ETag");
            show(text);
        }
        said.textContent = `${said.dataset.updated} ${new Date().toLocaleTimeString(document.documentElement.lang)}`;
        said.classList.remove("djqueue-failed");
    } catch {
        if (signal.aborted) {
            return;
        }
        said.textContent = said.dataset.failed;
        said.classList.add("djqueue-failed");
    }
    again();
}

// What was unfolded, focused or scrolled stays so.
function show(text) {
    const open = [...live.querySelectorAll("details[open][id]")].map((one) => one.id);
    const at = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const wide = [...live.querySelectorAll(".djqueue-wide")].map((one) => one.scrollLeft);
    live.innerHTML = text;
    for (const id of open) {
        document.getElementById(id)?.setAttribute("open", "");
    }
    live.querySelectorAll(".djqueue-wide").forEach((one, place) => {
        one.scrollLeft = wide[place] ?? 0;
    });
    if (at) {
        live.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
    }
}

rate.value = localStorage.getItem(KEPT) ?? rate.value;
if (rate.selectedIndex < 0) {
    rate.value = "5";
}
rate.addEventListener("change", () => {
    localStorage.setItem(KEPT, rate.value);
    again();
});
document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
        clearTimeout(timer);
    } else if (Number(rate.value) > 0) {
        ask();
    }
});
again();
