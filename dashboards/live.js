// Sends a form as its controls move, and asks again while a page grows. Without it every form has its button.
"use strict";
const main = () => document.querySelector("main");
let asking = 0;

async function show(address, remember) {
  const mine = ++asking;
  main().setAttribute("aria-busy", "true");
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const text = await answer.text();
  if (mine !== asking) return; // a later one is on its way
  const found = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  const focused = document.activeElement && document.activeElement.id;
  const open = [...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
  const held = document.querySelector("form[data-live]");
  const fresh = found.querySelector("form[data-live]");
  if (held && fresh && held.id === fresh.id && held.contains(document.activeElement)) {
    // the control that moves stays the same element
    for (const output of fresh.querySelectorAll("output"))
      if (output.id) { const old = document.getElementById(output.id); if (old) old.replaceWith(output.cloneNode(true)); }
    fresh.replaceWith(held);
  }
  main().replaceWith(found);
  for (const one of found.querySelectorAll("details > summary")) if (open.includes(one.textContent)) one.parentElement.open = true;
  if (focused && document.getElementById(focused)) document.getElementById(focused).focus({ preventScroll: true });
  if (remember) history.replaceState(null, "", address);
  wait();
}

function address(form) {
  const values = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...values]) if (value === "") values.delete(name);
  return `${form.getAttribute("action") || location.pathname}?${values}`;
}

let pending;
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-live]");
  if (!form || event.target.type === "file") return;
  const output = document.getElementById(`${event.target.id}-now`);
  if (output) output.textContent = event.target.value;
  clearTimeout(pending);
  pending = setTimeout(() => show(address(form), true), event.target.type === "search" ? 300 : 120);
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-live]")) return;
  event.preventDefault();
  clearTimeout(pending);
  show(address(event.target), true);
});

document.addEventListener("change", async (event) => {
  if (event.target.id !== "like-file" || !event.target.files.length) return;
  const said = document.getElementById("like-said");
  const answer = await fetch("/like", { method: "POST", body: event.target.files[0] });
  const found = await answer.json().catch(() => ({ said: "the picture is too large" }));
  if (!answer.ok) { said.textContent = found.said; return; }
  location.href = `/corpus?${new URLSearchParams(found)}`;
});

let timer;
function wait() {
  clearTimeout(timer);
  if (main().dataset.refresh) timer = setTimeout(() => {
    if (document.hidden || main().contains(document.activeElement)) return wait();
    show(location.pathname + location.search, false).catch(wait);
  }, 1000 * Number(main().dataset.refresh));
}
wait();
