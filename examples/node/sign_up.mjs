// A sign-up service: what its pages call. mailer.mjs sends the tokens to the person.
import { randomUUID } from "node:crypto";
import * as biome from "@biome/users";
import { hashPassword, verifyPassword } from "./passwords.mjs";
import { decrypt, encrypt } from "./second_factor.mjs";

const source = `/signup/${randomUUID()}`; // of this process, so that it hears its own answers only
const [users, reader] = [new biome.UserCommands({ source }), new biome.LoginReader()];
const tokens = new biome.MailedTokens(Buffer.from(process.env.TOKEN_KEY));
const key = Buffer.from(process.env.SECOND_FACTOR_KEY, "base64");
export const outcomes = await new biome.OutcomeListener({ source }).start();

async function decide(name, data, userId) {
  const answer = await outcomes.answer(await users.send(name, data, { userId }));
  if (answer.code) throw new Error(answer.code); // such as EmailTaken or TokenInvalid
  return answer.userId;
}
const days = (count) => ({ expires_at: new Date(Date.now() + count * 86_400_000).toISOString() });
const hashed = (token) => ({ token_hash: biome.tokenHash(token) });
const mailed = (purpose, token_id = randomUUID()) => {
  return { token_id, ...hashed(tokens.token(purpose, token_id)), ...days(1 / 24) };
}; // the mailer derives the token from its id

export async function register(email, first_name, password) {
  const password_hash = await hashPassword(password);
  const userId = await decide("RegisterUser", { email, first_name, password_hash });
  return decide("RequestEmailVerification", mailed("verification"), userId);
}
export const verify = (userId, token) => decide("VerifyEmail", hashed(token), userId);
export async function enableSecondFactor(userId, secret) {
  const codes = biome.newRecoveryCodes();
  const recovery_code_hashes = codes.map(biome.recoveryCodeHash);
  const secret_ciphertext = encrypt(key, secret, userId);
  await decide("EnableTwoFactor", { secret_ciphertext, recovery_code_hashes }, userId);
  return codes;
}
export async function logIn(email, password, code = "") {
  const user = await reader.byEmail(email);
  const right = await verifyPassword(user?.passwordHash, password);
  if (!right) throw new Error("WrongPassword"); // login.mjs also counts failures
  const factor = await reader.secondFactor(user.userId);
  const secret = factor && decrypt(key, factor.secretCiphertext, user.userId);
  const totp_step = factor && biome.findTotpStep(secret, code, factor.lastTotpStep);
  const token = biome.RefreshToken.create(user.userId);
  const proof = { methods: totp_step ? ["pwd", "otp"] : ["pwd"], totp_step };
  const start = { ...token.fields(), ...proof, credential_version: user.credentialVersion };
  await decide("StartSession", { ...start, ...days(30) }, user.userId);
  return token;
}
export async function refresh(token) {
  const next = token.next(); // two tabs may exchange the same token within some seconds
  const parts = { ...token.fields(), next_refresh_token_hash: next.refreshTokenHash };
  await decide("RotateRefreshToken", { ...parts, ...days(30) }, token.userId);
  return next;
}
export const changeEmail = (userId, new_email) =>
  decide("RequestEmailChange", { new_email, ...mailed("change") }, userId);
export const confirmEmail = (userId, token) => decide("ConfirmEmailChange", hashed(token), userId);
export const forgotPassword = (email) => // the same answer for an unknown address
  users.send("RequestPasswordReset", { email, ...mailed("reset") });
export const resetPassword = async (userId, token, password) =>
  decide("ResetPassword", { ...hashed(token), password_hash: await hashPassword(password) }, userId);
