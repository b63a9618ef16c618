// Signs requests to sealedge with WebCrypto: in browsers, Workers, Node, Deno and Bun, with nothing installed.
const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const decode = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const join = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

// A function that gives the headers to send with a request, by an API key (kes:v1:...).
export async function signer(apiKey) {
  const seed = decode(apiKey.replace("kes:v1:", "")).slice(1);
  const pkcs8 = join(decode("MC4CAQAwBQYDK2VwBCIEIA=="), seed);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const publicKey = decode(x.replaceAll("-", "+").replaceAll("_", "/"));
  const keyid = encode(join(decode("MCowBQYDK2VwAyEA"), publicKey));

  return async (method, url, body = "") => {
    const { host, pathname, search } = new URL(url);
    const covered = [["@method", method], ["@authority", host], ["@path", pathname]];
    const headers = {};
    if (search) covered.push(["@query", search]);
    if (body) {
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(body));
      headers["content-digest"] = `sha-256=:${encode(digest)}:`;
      covered.push(["content-digest", headers["content-digest"]]);
    }
    const names = covered.map(([name]) => `"${name}"`).join(" ");
    const created = Math.floor(Date.now() / 1000);
    const nonce = encode(crypto.getRandomValues(new Uint8Array(16)));
    const params = `(${names});created=${created};nonce="${nonce}";alg="ed25519";keyid="${keyid}";tag="sealedge"`;
    const base = [...covered, ["@signature-params", params]].map(([name, value]) => `"${name}": ${value}`);
    const signature = await crypto.subtle.sign("Ed25519", key, new TextEncoder().encode(base.join("\n")));
    headers["signature-input"] = `sealedge=${params}`;
    headers["signature"] = `sealedge=:${encode(signature)}:`;
    return headers;
  };
}
