// The settings that all scripts have. `k6 run -e NAME=value` sets one; docs/load.md lists them.

/** The address of the handler or the edge, without a slash at the end. */
export const url = (__ENV.RUSHGATE_URL || "http://127.0.0.1:3000").replace(/\/+$/, "");

export const campaign = __ENV.CAMPAIGN || missing("CAMPAIGN", "a new campaign: the load test takes its coupons");

/** The quota of the campaign. */
export const quota = whole("QUOTA", 100);

/** How long a client waits for an answer before it gives up, such as "10s". */
export const timeout = __ENV.TIMEOUT || "10s";

/** The method of an application. */
export const method = choice("METHOD", ["PUT", "POST"]);

/** How often a client sends its application until it gets a decision. */
export const attempts = whole("ATTEMPTS", 30);

/** At the end, at most this many applicants are asked about. */
export const verified = whole("VERIFY", 20000, 0);

/** The user id of an applicant. With an empty prefix it is a number. */
export function userId(number) {
  return `${__ENV.USER_ID_PREFIX ?? "k6-"}${number}`;
}

/** A whole number of at least `least`. */
export function whole(name, standard, least = 1) {
  const value = Number(__ENV[name] || standard);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`${name} is "${__ENV[name]}": set a whole number of at least ${least}`);
  }
  return value;
}

function choice(name, values) {
  const value = __ENV[name] || values[0];
  if (!values.includes(value)) throw new Error(`${name} is "${value}": set ${values.join(" or ")}`);
  return value;
}

function missing(name, what) {
  throw new Error(`${name} is not set: set ${what} (k6 run -e ${name}=…)`);
}
