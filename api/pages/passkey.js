// Ask the browser for a WebAuthn credential and hand its answer to the service. No inline script, no library.
"use strict";

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function readOptions(told, kind) {
  const options = { ...told, challenge: toBytes(told.challenge) };
  const listed = kind === "create" ? "excludeCredentials" : "allowCredentials";
  options[listed] = (told[listed] ?? []).map((one) => ({ ...one, id: toBytes(one.id) }));
  if (kind === "create") options.user = { ...told.user, id: toBytes(told.user.id) };
  return { publicKey: options };
}

function tell(credential) {
  const response = { clientDataJSON: toText(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
}

async function post(address, form, body) {
  const headers = { "Content-Type": "application/json", "X-Form": form };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

for (const button of document.querySelectorAll("[data-passkey]")) {
  button.addEventListener("click", async () => {
    const { passkey: kind, options, answer, form, next } = button.dataset;
    try {
      const wanted = readOptions(await post(options, form, {}), kind);
      const credential = await navigator.credentials[kind](wanted);
      const done = await post(answer, form, { next, credential: tell(credential) });
      location.assign(done.next);
    } catch {
      document.getElementById("passkey-problem").hidden = false;
    }
  });
}
