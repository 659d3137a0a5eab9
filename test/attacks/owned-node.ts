import { createPrivateKey, createPublicKey, hash } from 'node:crypto';
import { binaryFrame, type Challenge } from '../../attest-server/wire/messages.ts';
import type { Role } from '../../attest-server/wire/roles.ts';
import { dial, type Peer } from '../attest-server/attacker.ts';
import { type ForgedTpm, forgedTpm } from '../attest-server/forged-tpm.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import type { SoftwareKey } from '../attest-server/verify/software-key.ts';
import type { Machine } from '../bench/population.ts';

/** An enrolled node as its owner hands it on, in JSON: DER and TPMT_PUBLIC, base64. */
export interface OwnedNode {
  readonly name: string;
  readonly ak: OwnedKey;
  readonly ek: OwnedKey;
  /** Of its service account, where the server is in a cluster. */
  readonly token: string | null;
}

interface OwnedKey {
  readonly kind: SoftwareKey['kind'];
  readonly privateKey: string;
  readonly publicArea: string;
}

export function handedOn({ name, tpm }: Machine, token: string | null): OwnedNode {
  return { name, ak: exported(tpm.ak), ek: exported(tpm.ek), token };
}

export function takenOver({ name, ak, ek }: OwnedNode): Machine {
  return { name, tpm: forgedTpm(imported(ak), imported(ek)) };
}

function exported({ kind, privateKey, publicArea }: SoftwareKey): OwnedKey {
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  return { kind, privateKey: der.toString('base64'), publicArea: publicArea.toString('base64') };
}

function imported({ kind, privateKey, publicArea }: OwnedKey): SoftwareKey {
  const key = createPrivateKey({ key: Buffer.from(privateKey, 'base64'), format: 'der', type: 'pkcs8' });
  return {
    kind,
    privateKey: key,
    publicKey: createPublicKey(key),
    publicArea: Buffer.from(publicArea, 'base64'),
  };
}

/** What the TPM is to say of a boot. */
export interface SaidBoot {
  readonly log: Buffer;
  /** Of the SHA-256 bank; `replayed` gives those that the log leads to. */
  readonly values: Buffer;
  readonly resetCount: number;
}

export const saidBoot = (log: Buffer, resetCount = 7): SaidBoot => ({
  log,
  values: replayedValues(log, 'sha256'),
  resetCount,
});

/** How a node comes in. */
export interface Coming {
  readonly from: string;
  readonly role?: Role;
  readonly speaks?: readonly string[];
  readonly token: string | null;
}

/** A connection of an enrolled node: honest or not, its keys are the right ones. */
export interface Entered extends Peer {
  /** As it was sent. */
  readonly hello: string;
  /** Sends what the server does not hold of this, and a quote over it. */
  answer(challenge: Challenge, boot: SaidBoot, message?: object): void;
}

/** Connects and says hello, with the token of the cluster where there is one; the next message is a challenge, or a refusal. */
export async function enter(
  { port, ca }: { readonly port: number; readonly ca: string },
  { name, tpm }: Machine,
  { from, role = 'agent', speaks = ['parts', 'codes'], token }: Coming,
): Promise<Entered> {
  const peer = await dial({ ca, server: { agentPort: port } }, { from });
  const hello = JSON.stringify(helloOf(tpm, name, { role, speaks, token }));
  peer.send(hello);
  if (token !== null && role === 'agent') peer.send(binaryFrame('clusterToken', Buffer.from(token)));
  return {
    ...peer,
    hello,
    answer(challenge, { log, values, resetCount }, message = {}) {
      if (!challenge.holds.includes(hash('sha256', log, 'hex'))) peer.send(binaryFrame('part', log));
      const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
      const occasion = { node: name, hello, channel: peer.channel, bootLog: log, bootId };
      const clock = BigInt(resetCount) * 1_000_000n;
      const quote = (signed: Buffer) =>
        madeQuote(tpm.ak, signed, { pcrs: { sha256: values }, resetCount, clock });
      const evidence =
        challenge.parts === undefined
          ? tpm.evidence(challenge, occasion, { quote })
          : tpm.evidenceOfParts(challenge, occasion, {}, quote);
      peer.send({ ...evidence, ...message });
    },
  };
}

function helloOf(
  tpm: ForgedTpm,
  name: string,
  {
    role,
    speaks,
    token,
  }: { readonly role: Role; readonly speaks: readonly string[]; readonly token: string | null },
): object {
  return {
    ...tpm.hello(name),
    role,
    ...(speaks.length > 0 && { speaks }),
    ...(token !== null && role === 'agent' && { clusterToken: true }),
  };
}
