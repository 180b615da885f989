// Keys: they move, open and focus; none of them acts on a case by itself.
const OFF = "rabbitjobs-keys-off";
const root = document.body.dataset.root;
const pages = { c: "/cases", g: "/groups", b: "/bulk", a: "/audit", p: "/people", h: "/help" };
let leading = 0;

const off = () => localStorage.getItem(OFF) === "yes";
const typing = (element) => element.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");

function rowOf(element) {
  return element?.closest?.("[data-row]");
}

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const here = rows.indexOf(rowOf(document.activeElement));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + step, 0), rows.length - 1);
  const link = rows[next].querySelector(".to");
  link.focus();
  link.scrollIntoView({ block: "nearest" });
}

function tick() {
  const box = rowOf(document.activeElement)?.querySelector("input[type=checkbox]");
  if (box) box.click();
}

function help() {
  const dialog = document.getElementById("keys");
  if (dialog && !dialog.open) dialog.showModal();
}

function go(key) {
  const target = document.querySelector(`[data-key="${key}"]`);
  if (!target) return false;
  if (target.tagName === "A" && (key === "u" || key === "n" || key === "e")) target.click();
  else {
    if (target.tagName === "SUMMARY") {
      target.parentElement.open = true;
      const field = target.parentElement.querySelector("textarea, input:not([type=hidden])");
      (field ?? target).focus();
    } else target.focus();
    document.activeElement.scrollIntoView({ block: "nearest" });
  }
  return true;
}

function press(event) {
  if (off() || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const { key } = event;
  let done = true;
  if (Date.now() - leading < 1500 && pages[key]) location.assign(root + pages[key]);
  else if (key === "g") { leading = Date.now(); event.preventDefault(); return; }
  else if (key === "?") help();
  else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "x") tick();
  else done = "/cersdmun".includes(key) && go(key);
  leading = 0;
  if (done) event.preventDefault();
}

export function listenToKeys() {
  document.addEventListener("keydown", press);
  for (const link of document.querySelectorAll("[data-help]")) {
    link.addEventListener("click", (event) => { event.preventDefault(); help(); });
  }
  const box = document.getElementById("keys-off");
  if (!box) return;
  box.checked = off();
  box.addEventListener("change", () => localStorage.setItem(OFF, box.checked ? "yes" : "no"));
}
