// Sends a form as its controls move, and asks again while a page grows. Without it every form has its button.
"use strict";
const main = () => document.querySelector("main");
let asking = 0;

// The page becomes the one that came, but for the control that somebody holds: that stays the same element.
function become(fresh) {
  const held = main().contains(document.activeElement) && document.activeElement;
  const twin = held && held.id && fresh.querySelector(`#${CSS.escape(held.id)}`);
  const [path, other] = [held, twin].map((one) => {
    const found = [];
    for (let at = one; at && at.tagName !== "MAIN"; at = at.parentNode) found.unshift(at);
    return found;
  });
  if (!twin || path.length !== other.length) return main().replaceWith(fresh);
  let [into, from] = [main(), fresh];
  path.forEach((kept, depth) => {
    const children = [...from.childNodes];
    const place = children.indexOf(other[depth]);
    for (const one of [...into.childNodes]) if (one !== kept) one.remove();
    kept.before(...children.slice(0, place));
    kept.after(...children.slice(place + 1));
    [into, from] = [kept, other[depth]];
  });
  main().removeAttribute("aria-busy");
  if (fresh.dataset.refresh) main().dataset.refresh = fresh.dataset.refresh;
  else delete main().dataset.refresh;
}

async function show(address, remember) {
  const mine = ++asking;
  main().setAttribute("aria-busy", "true");
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const text = await answer.text();
  if (mine !== asking) return; // a later one is on its way
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  const open = [...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
  for (const one of fresh.querySelectorAll("details > summary"))
    if (open.includes(one.textContent)) one.parentElement.open = true;
  become(document.adoptNode(fresh));
  if (remember) history.replaceState(null, "", address);
  wait();
}

function address(form) {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") values.append(name, value);
  return `${form.getAttribute("action")}?${values}`;
}

let pending;
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-live]");
  if (!form) return;
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
  const answer = await fetch("/like", { method: "POST", body: event.target.files[0] });
  const found = await answer.json().catch(() => ({ said: "the picture is too large" }));
  if (answer.ok) location.href = `/corpus?${new URLSearchParams(found)}`;
  else document.getElementById("like-said").textContent = found.said;
});

let timer;
function wait() {
  clearTimeout(timer);
  if (!main().dataset.refresh) return;
  timer = setTimeout(() => {
    if (document.hidden) wait();
    else show(location.pathname + location.search, false).catch(wait);
  }, 1000 * Number(main().dataset.refresh));
}
wait();
