// Tokens for deployments with auth_mode = jwt: the load test signs one for each applicant with the key of the handlers.

import crypto from "k6/crypto";
import encoding from "k6/encoding";

const secret = __ENV.JWT_SECRET;
const hour = 3600;

/** The header of a request of this applicant; empty without JWT_SECRET. */
export function authorization(subject) {
  if (!secret) return {};
  const header = { alg: "HS256", typ: "JWT", kid: __ENV.JWT_KID };
  const claims = {
    sub: subject,
    aud: __ENV.JWT_AUDIENCE,
    iss: __ENV.JWT_ISSUER,
    exp: Math.floor(Date.now() / 1000) + hour,
  };
  const message = [header, claims]
    .map((part) => encoding.b64encode(JSON.stringify(part), "rawurl"))
    .join(".");
  const signature = crypto.hmac("sha256", secret, message, "base64rawurl");
  return { authorization: `Bearer ${message}.${signature}` };
}
