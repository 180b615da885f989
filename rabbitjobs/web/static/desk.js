// Small comforts for the desk. Every page and every form works without this.
import { showTimes } from "./times.js";
import { listenToKeys } from "./keys.js";
import { listenToChanges } from "./live.js";
import { keepLease } from "./lease.js";
import { countTicks, guardForms, showTermsOfAction } from "./forms.js";

showTimes(document);
listenToKeys();
countTicks();
showTermsOfAction();
guardForms();
keepLease();
listenToChanges();
document.querySelector("[data-focus]")?.focus();
