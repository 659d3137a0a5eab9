import { growingParts, type Part, type PartName, type Parts } from '../wire/evidence.ts';
import type { Facts } from '../wire/facts.ts';
import { Rejection } from '../wire/rejection.ts';
import { type HashedPart, hashPart } from './hashed-part.ts';
import type { Memory } from './memory.ts';
import type { Proven, ProvenPart } from './proven.ts';

/** The parts of one answer, each of them what was signed, or to be replayed. */
export interface CheckedParts {
  readonly boot: HashedPart | null;
  readonly userSpace: HashedPart | null;
  readonly ima: HashedPart | null;
  readonly others: Proven['parts'];
}

/**
 * Each part is the one that the signed facts name. `boot` was bound already, and what grows vouches for itself by
 * replay; all of these need their bytes.
 * @throws Rejection `nonce_invalid` for a part that was not signed; `malformed` for one that was and is not there, for
 *   bytes of another digest than claimed, and for a log without bytes
 */
export function checkParts(parts: Parts, facts: Facts | null, memory: Memory | null): CheckedParts {
  const signed = facts?.parts ?? none;
  for (const name in signed)
    if (parts[nameOf(name)] === undefined)
      throw malformed(nameOf(name), `the facts name the part ${name}, which was not sent`);
  let others: Partial<Record<PartName, ProvenPart>> = none;
  for (const each in parts) {
    const name = nameOf(each);
    const part = parts[name];
    if (part === undefined) continue;
    // Who replays them says what they are worth.
    const vouchesForItself = name === 'boot' || growingParts.has(name);
    const digest = signed[name];
    if (digest === undefined ? !vouchesForItself : digest !== part.digest)
      throw new Rejection('nonce_invalid', `the part ${name} is not the one that was signed`, {
        field: `parts.${name}`,
      });
    if (vouchesForItself) continue;
    const hashed = hashedPart(name, part, memory);
    if (hashed !== null) memory?.keep(hashed);
    others = { ...others, [name]: { digest: part.digest, bytes: hashed?.bytes ?? null } };
  }
  return {
    boot: logOf('boot', parts, memory),
    userSpace: logOf('userSpace', parts, memory),
    ima: logOf('ima', parts, memory),
    others,
  };
}

const none: Readonly<Partial<Record<PartName, never>>> = {};

/** The compiler knows the members of what is walked through, and calls their names strings all the same. */
function nameOf(member: string): PartName {
  return member as PartName;
}

function logOf(name: 'boot' | 'userSpace' | 'ima', parts: Parts, memory: Memory | null): HashedPart | null {
  const part = parts[name];
  if (part === undefined) return null;
  const log = hashedPart(name, part, memory);
  if (log === null) throw malformed(name, `the evidence names a part ${name} that was not sent`);
  return log;
}

/** Null if it is only named, and nothing is remembered of it. */
function hashedPart(name: PartName, { digest, bytes }: Part, memory: Memory | null): HashedPart | null {
  const known = memory?.part(digest) ?? null;
  if (bytes === null || known?.bytes.equals(bytes)) return known;
  const part = hashPart(bytes);
  if (part.digest !== digest)
    throw malformed(name, `the part ${name} has another digest than it is sent under`);
  return part;
}

function malformed(name: PartName, text: string): Rejection {
  return new Rejection('malformed', text, { field: `parts.${name}` });
}
