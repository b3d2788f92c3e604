// Renew parts of a page, and add events as they arrive. Every page works without this script,
// except that nothing is renewed and no events arrive.
"use strict";

// --- parts that are renewed: <div data-refresh="URL" data-every="MILLISECONDS"> ---

const STOPS = "a, button, input, [tabindex]";

// Replace the content of a part; the focus stays where it was in the order of the Tab key.
const replace = (part, html) => {
  const place = [...part.querySelectorAll(STOPS)].indexOf(document.activeElement);
  part.innerHTML = html;
  if (place >= 0) part.querySelectorAll(STOPS)[place]?.focus({ preventScroll: true });
};

for (const part of document.querySelectorAll("[data-refresh]")) {
  const renew = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.refresh);
        if (answer.ok) replace(part, await answer.text());
        part.classList.toggle("stale", !answer.ok);
      } catch {
        part.classList.add("stale"); // the console has stopped, or the connection is cut
      }
    }
    if (!part.querySelector("[data-done]")) setTimeout(renew, Number(part.dataset.every));
  };
  if (!part.querySelector("[data-done]")) setTimeout(renew, Number(part.dataset.every));
}

// --- events: <tbody data-stream="URL"> ---

const KEPT = 500;
const rows = document.querySelector("[data-stream]");
if (rows) {
  const category = document.getElementById("category");
  const find = document.getElementById("find");
  const pause = document.querySelector("[data-pause]");
  const held = [];

  const filter = (row) => {
    const wanted = !category.value || row.dataset.category === category.value;
    row.hidden = !wanted || !row.textContent.toLowerCase().includes(find.value.toLowerCase());
  };
  const add = (html) => {
    document.getElementById("waiting").hidden = true;
    rows.insertAdjacentHTML("afterbegin", html);
    filter(rows.firstElementChild);
    while (rows.children.length > KEPT) rows.lastElementChild.remove();
  };
  const source = new EventSource(rows.dataset.stream);
  source.onmessage = (event) => {
    if (pause.getAttribute("aria-pressed") !== "true") add(event.data);
    else if (held.push(event.data) > KEPT) held.shift();
  };
  const problem = document.getElementById("problem");
  source.addEventListener("problem", (event) => {
    problem.textContent = event.data;
    problem.hidden = false;
  });
  source.addEventListener("received", () => { problem.hidden = true; });
  source.onerror = () => {
    problem.textContent = "The connection to the console is interrupted. The page connects again.";
    problem.hidden = false;
  };
  source.onopen = () => { problem.hidden = true; };
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "true";
    pause.setAttribute("aria-pressed", String(!paused));
    pause.textContent = paused ? "Pause" : "Continue";
    if (paused) for (const html of held.splice(0)) add(html);
  });
  for (const field of [category, find]) {
    field.addEventListener("input", () => [...rows.children].forEach(filter));
  }
  document.querySelector("[data-filter]").addEventListener("submit", (event) => event.preventDefault());
}
