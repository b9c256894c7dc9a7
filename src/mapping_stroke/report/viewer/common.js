// Shared by the pages of the app: requests to the app, and elements.

// The answer of an address: bytes if they are gzipped, else JSON; an error holds the app's own line.
async function ask(address, options) {
  const answer = await fetch(address, options);
  if (answer.ok && answer.headers.get("content-type").includes("gzip")) return answer.arrayBuffer();
  const text = await answer.text();
  let found;
  try { found = JSON.parse(text); } catch { found = { error: text.trim() }; }
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
