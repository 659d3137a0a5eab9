import type { SignatureEntry } from '../../verify/tpm/signature-list.ts';
import type { Finding } from '../finding.ts';
import { globMatches } from '../glob.ts';
import { factsOf } from './judged-by-rule.ts';
import { keyName } from './key-change.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import { type BootRules, wantsRevocations } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** `secureBoot`, `signers`, `dbx`, `sbat` and `mok` of a policy, by what the TPM vouches for; the first that is broken. */
export function secureBootFindings(
  boot: VouchedBoot,
  rules: BootRules,
  references: readonly PreparedReference[],
  revocations: readonly string[] | null,
): Finding[] {
  const off = checkOn(boot, rules);
  const broken =
    checkValidation(boot, rules) ??
    checkReadable(boot, rules) ??
    checkSigners(boot, rules) ??
    checkDatabase(boot, rules, references) ??
    checkRevocations(boot, rules, revocations) ??
    checkSbat(boot, rules) ??
    checkOwnerKeys(boot, rules, references);
  return [off, broken].filter((finding) => finding !== null);
}

/** Where signers are named Secure Boot must be on: else nobody checks a signature. */
function checkOn(boot: VouchedBoot, { secureBoot, signers }: BootRules): Finding | null {
  const { enabled, event } = boot.state.secureBoot;
  if (enabled === true || (secureBoot !== 'required' && signers.length === 0)) return null;
  const text =
    enabled === false
      ? `Secure Boot is turned off: event ${event} in PCR 7 says so, and the policy requires it.`
      : 'The policy requires Secure Boot, and no vouched event in PCR 7 says that it is on.';
  return ruleFinding(
    boot,
    'secureboot_off',
    event,
    'SecureBoot = 01',
    enabled === false ? 'off' : null,
    text,
  );
}

function checkValidation(boot: VouchedBoot, { secureBoot, signers, mok }: BootRules): Finding | null {
  const wanted = secureBoot === 'required' || signers.length > 0 || mok === 'forbid';
  if (!wanted || !boot.state.secureBoot.validationOff) return null;
  const event = boot.state.secureBoot.machineOwner.find(({ name }) => name === 'MokSBState')?.event ?? null;
  const text = 'shim checks no signatures: its validation was turned off (MokSBState).';
  return ruleFinding(boot, 'secureboot_policy', event, 'MokSBState = 00', 'validation off', text);
}

/**
 * Attack: an authority or an old level that the log gives another type or other data, so that no rule sees it. Behind
 * the separator firmware and shim measure nothing but variables, whole.
 */
function checkReadable(boot: VouchedBoot, { signers, sbatMinimum }: BootRules): Finding | null {
  if (signers.length === 0 && sbatMinimum === null) return null;
  const facts = factsOf(boot.state);
  const events = boot.state.components.filter(({ pcr }) => pcr === 7);
  const separator = events.findIndex(({ kind }) => kind === 'marker');
  const hidden = events
    .slice(separator + 1)
    .find(({ event, kind, text }) => kind !== 'marker' && text === null && !facts.has(event));
  if (hidden === undefined || separator < 0) return null;
  const name = hidden.describes || hidden.type;
  const text = `Event ${hidden.event} in PCR 7 (${name}) is not what was measured there, so the rules of the policy cannot judge it.`;
  return ruleFinding(boot, 'secureboot_policy', hidden.event, 'a variable, measured whole', name, text);
}

function checkSigners(boot: VouchedBoot, { signers }: BootRules): Finding | null {
  if (signers.length === 0) return null;
  const foreign = boot.state.secureBoot.authorities.find((one) => !isSigner(one, signers));
  if (foreign === undefined) return null;
  return notAllowed(boot, foreign, foreign.event, signers, `of ${foreign.source} allowed an image to run`);
}

/** A database that no reference has may still hold nothing but signers that the policy names. */
function checkDatabase(
  boot: VouchedBoot,
  { signers }: BootRules,
  references: readonly PreparedReference[],
): Finding | null {
  if (signers.length === 0) return null;
  for (const { name, event, entries } of boot.state.secureBoot.databases) {
    if (name !== 'db') continue;
    if (isReferenced(boot, event, references)) continue;
    const foreign = entries.find((entry) => !isSigner(entry, signers));
    if (foreign !== undefined)
      return notAllowed(boot, foreign, event, signers, `in ${name} may allow images to run`);
  }
  return null;
}

function isSigner({ digest, subject }: SignatureEntry, signers: readonly string[]): boolean {
  return signers.some((signer) => signer === digest || (subject !== null && globMatches(signer, subject)));
}

function notAllowed(
  boot: VouchedBoot,
  entry: SignatureEntry,
  event: number,
  signers: readonly string[],
  does: string,
): Finding {
  const key = keyName(entry);
  const text = `${key} ${does} (event ${event} in PCR 7), but is not one of the signers of the policy.`;
  return ruleFinding(boot, 'secureboot_policy', event, `one of: ${signers.join(', ')}`, key, text);
}

function checkRevocations(
  boot: VouchedBoot,
  { dbx }: BootRules,
  revocations: readonly string[] | null,
): Finding | null {
  if (!wantsRevocations(dbx)) return null;
  const { contains, reference } = dbx;
  if (reference !== null && revocations === null) {
    const text = `The policy wants the revocations of reference ${reference}, but that reference has none.`;
    return ruleFinding(boot, 'secureboot_policy', null, `the dbx of ${reference}`, null, text);
  }
  const databases = boot.state.secureBoot.databases.filter(({ name }) => name === 'dbx');
  const held = new Set(databases.flatMap(({ entries }) => entries.map(({ digest }) => digest)));
  const wanted = [...contains, ...(revocations ?? [])];
  const missing = wanted.filter((digest) => !held.has(digest));
  if (missing.length === 0) return null;
  const text = `dbx lacks ${missing.length} of the ${wanted.length} revocations that the policy wants, the first is ${missing[0]}.`;
  const event = databases[0]?.event ?? null;
  return ruleFinding(
    boot,
    'secureboot_policy',
    event,
    `dbx with ${missing[0]}`,
    `${held.size} entries`,
    text,
  );
}

function checkSbat(boot: VouchedBoot, { sbatMinimum }: BootRules): Finding | null {
  const { sbatLevel } = boot.state.secureBoot;
  if (sbatMinimum === null || (sbatLevel !== null && sbatLevel >= sbatMinimum)) return null;
  const text = `shim's revocation level is ${sbatLevel ?? 'not vouched for'}, and the policy wants ${sbatMinimum} or later.`;
  return ruleFinding(
    boot,
    'secureboot_policy',
    null,
    `${sbatMinimum}`,
    sbatLevel === null ? null : `${sbatLevel}`,
    text,
  );
}

/** The names in PCR 14 are the log's word, so that any list there counts that a reference does not know. */
function checkOwnerKeys(
  boot: VouchedBoot,
  { mok, signers }: BootRules,
  references: readonly PreparedReference[],
): Finding | null {
  if (mok !== 'forbid') return null;
  for (const { event, name, content, entries } of boot.state.secureBoot.machineOwner) {
    if (content !== 'listed' && content !== 'unknown') continue;
    if (isReferenced(boot, event, references)) continue;
    const foreign = entries.find((entry) => !isSigner(entry, signers));
    if (content === 'listed' && foreign === undefined) continue;
    const key = foreign === undefined ? 'keys that only their digest is known of' : keyName(foreign);
    const text = `${name} of the machine's owner holds ${key} (event ${event}), but the policy forbids machine owner keys.`;
    return ruleFinding(boot, 'secureboot_policy', event, 'no machine owner key', key, text);
  }
  return null;
}

function isReferenced(boot: VouchedBoot, event: number, references: readonly PreparedReference[]): boolean {
  const component = boot.componentAt(event);
  return (
    component !== undefined &&
    references.some(({ components }) => referencedComponent(components, component, boot.texts) !== null)
  );
}
