// Forms: how many are ticked, which terms belong to an action, what would be lost by leaving.
export function countTicks() {
  const said = () => document.querySelector("[data-ticked]");
  const count = () => {
    const number = document.querySelectorAll('input[name="case"]:checked').length;
    const place = said();
    if (place) place.textContent = number ? ` ${number}` : "";
  };
  document.addEventListener("change", (event) => { if (event.target.name === "case") count(); });
  count();
}

export function showTermsOfAction() {
  const terms = document.querySelectorAll("fieldset[data-for]");
  const show = () => {
    const action = document.querySelector('input[name="action"]:checked')?.value;
    for (const one of terms) one.hidden = !one.dataset.for.split(" ").includes(action);
  };
  if (!terms.length) return;
  document.addEventListener("change", (event) => { if (event.target.name === "action") show(); });
  show();
}

export function dirty(root) {
  // What was typed before the desk refused it stands in the form as if it had always been there.
  if (root.querySelector("[data-typed]")) return true;
  return [...root.querySelectorAll("textarea, input:not([type=hidden]), select")].some((field) => {
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some((one) => one.selected !== one.defaultSelected) && field.selectedIndex > 0;
    return field.value !== field.defaultValue;
  });
}

export function guardForms() {
  let sending = false;
  document.addEventListener("submit", (event) => {
    sending = true;
    // A second press of the button would be refused as stale; it is not even sent.
    const form = event.target;
    if (form.method === "post" && form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; sending = false; }, 4000);
  });
  const guarded = document.querySelector("form[data-guard]");
  if (!guarded) return;
  window.addEventListener("beforeunload", (event) => { if (!sending && dirty(guarded)) event.preventDefault(); });
}
