// The calls this console makes. The key, where the service wants one, lives in sessionStorage and goes out as a header.

const KEY = "magnet.key";

/** What the service refused, as its problem document says it. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

const id = encodeURIComponent;

export const api = {
  users: (query, limit, signal) => json("/users", { query, limit }, { signal }),
  items: (query, limit, signal) => json("/items", { query, limit }, { signal }),
  user: (user, signal) => json(`/users/${id(user)}`, {}, { signal }),
  item: (item) => json(`/items/${id(item)}`),
  recommend: (user, wish, signal) => json(`/recommend/${id(user)}`, wish, { signal }),
  next: (link, signal) => json(link, {}, { signal }),
  similar: (item, by) => json(`/similar/${id(item)}`, { by }),
  explain: (pair) => json("/explain", pair),
  profile: (user) => json(`/explain/${id(user)}`),
  experts: () => json("/experts"),
  snapshot: () => json("/snapshot"),
  snapshots: () => json("/snapshots"),
  document: (name) => send(`/snapshot/${id(name)}`),
  rollback: (adminKey) => json("/admin/rollback", {}, { method: "POST", headers: credentials(adminKey) }),
  activate: (adminKey, snapshot) =>
    json("/admin/activate", {}, {
      method: "POST",
      headers: { ...credentials(adminKey), "Content-Type": "application/json" },
      body: JSON.stringify({ snapshot }),
    }),
};

/** What `call` gives, or `otherwise` where the service does not know what was asked for. */
export async function known(call, otherwise) {
  try {
    return await call;
  } catch (error) {
    if (error.status === 404) return otherwise;
    throw error;
  }
}

/** An address for the picture, fetched with the key where there is one: an image element sends no headers. */
export async function picture(hash) {
  const path = `/media/${id(hash)}`;
  if (!key.get()) return path;
  return URL.createObjectURL(await (await send(path)).blob());
}

async function json(path, query = {}, options = {}) {
  const text = new URLSearchParams(query).toString();
  return (await send(text ? `${path}?${text}` : path, options)).json();
}

async function send(path, options = {}) {
  const lost = /^[^?]*\/(\.\.?)(?:[/?]|$)/.exec(path);
  if (lost) throw new Error(`The id “${lost[1]}” cannot be asked for: browsers drop it from every address.`);
  const response = await answered(path, { ...options, headers: options.headers ?? credentials(key.get()) });
  if (response.ok) return response;
  if (response.status === 401) throw new Problem(401, key.get() ? "The service does not accept the key it was given." : "The service wants an API key.");
  const problem = await response.json().catch(() => ({}));
  throw new Problem(response.status, [problem.title, problem.detail].filter(Boolean).join(": ") || response.statusText);
}

/** What was answered; browsers tell of no answer in words of their own, each in others. */
function answered(path, options) {
  return fetch(path, options).catch((error) => {
    throw error instanceof TypeError ? new Error("The service does not answer.") : error;
  });
}

function credentials(secret) {
  if (!secret) return {};
  // Browsers put no other letters into a header: the call would fail, and no other could be made to get out of it.
  if (/[^ -~]/.test(secret)) throw new Problem(401, "A key has only letters, digits and signs of ASCII.");
  return { Authorization: `Bearer ${secret}` };
}
