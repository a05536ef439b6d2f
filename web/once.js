// Of a pack that is installed twice the scripts are loaded twice: the first to come registers its extension.
import { app } from "../../scripts/app.js";

export function registerOnce(extension) {
  const taken = Symbol.for(extension.name);
  if (window[taken]) return;
  window[taken] = true;
  app.registerExtension(extension);
}
