// The form of a schedule: shows the fields of the chosen kind, and what the server says of the timing as one types.
"use strict";

(() => {
    const FIELDS = {
        crontab: ["expression", "timezone"],
        cron: ["expression", "timezone"],
        interval: ["every", "relative"],
        clocked: ["clocked_at"],
        solar: ["solar_event", "latitude", "longitude"],
    };
    const OF_A_KIND = ["expression", "every", "relative", "clocked_at", "solar_event", "latitude", "longitude"];
    const NOT_ONCE = ["start_at", "end_at", "one_off"];
    const PAUSE = 250;

    function row(form, name) {
        return form.querySelector(`.field-${name}`);
    }

    function showKind(form, kind) {
        for (const name of OF_A_KIND) {
            row(form, name).hidden = !FIELDS[kind].includes(name);
        }
        for (const name of NOT_ONCE) {
            row(form, name).hidden = kind === "clocked";
        }
    }

    function showErrors(form, errors) {
        for (const list of form.querySelectorAll(".djqueue-live")) {
            list.remove();
        }
        for (const input of form.querySelectorAll("[data-djqueue-invalid]")) {
            input.removeAttribute("aria-invalid");
            delete input.dataset.djqueueInvalid;
        }
        for (const [name, texts] of Object.entries(errors)) {
            const place = row(form, name);
            if (!place) {
                continue;
            }
            const list = document.createElement("ul");
            list.className = "errorlist djqueue-live";
            for (const text of texts) {
                list.append(Object.assign(document.createElement("li"), { textContent: text }));
            }
            // What the server said when the form was sent is about what was typed then.
            place.querySelectorAll(".errorlist:not(.djqueue-live)").forEach((old) => old.remove());
            place.prepend(list);
            for (const input of place.querySelectorAll("input, select, textarea")) {
                input.setAttribute("aria-invalid", "true");
                input.dataset.djqueueInvalid = "";
            }
        }
    }

    function showSlots(box, said) {
        box.querySelector(".djqueue-words").textContent = said.words;
        box.querySelector(".djqueue-note").textContent = said.note;
        const table = box.querySelector("table");
        table.hidden = said.slots.length === 0;
        table.querySelector("th").textContent = said.zone;
        table.querySelector("tbody").replaceChildren(...said.slots.map((slot) => {
            const line = document.createElement("tr");
            for (const text of [slot.local, slot.utc]) {
                line.append(Object.assign(document.createElement("td"), { textContent: text }));
            }
            return line;
        }));
    }

    function begin() {
        const marker = document.getElementById("djqueue-schedule-form");
        const box = document.getElementById("djqueue-preview");
        const kind = document.getElementById("id_kind");
        if (!marker || !box || !kind) {
            return; // a list, or a form that may only be read
        }
        const form = kind.form;
        let asked = 0;
        let timer = 0;

        async function ask() {
            const number = ++asked;
            try {
                const answer = await fetch(marker.dataset.previewUrl, {
                    method: "POST", body: new FormData(form), credentials: "same-origin",
                });
                const said = answer.ok ? await answer.json() : null;
                if (number === asked && said) {
                    showErrors(form, said.errors);
                    showSlots(box, said);
                }
            } catch {
                // The server is checked again when the form is sent.
            }
        }

        form.addEventListener("input", () => {
            clearTimeout(timer);
            timer = setTimeout(ask, PAUSE);
        });
        // The calendar and the clock of the admin change inputs without an event that says so.
        form.addEventListener("click", () => {
            clearTimeout(timer);
            timer = setTimeout(ask, PAUSE);
        });
        kind.addEventListener("change", () => showKind(form, kind.value));
        showKind(form, kind.value);
        const typed = [...form.querySelectorAll("#id_expression, #id_every, #id_latitude")];
        if (typed.some((input) => input.value)) {
            ask();
        }
    }

    document.addEventListener("DOMContentLoaded", begin);
})();
