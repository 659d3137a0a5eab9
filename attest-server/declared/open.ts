/**
 * A signed directory of references, pins and policy: what is in it at one moment (`snapshot`), read whole or
 * not at all (`read-directory`), when (`look`), and put in force by the rooms that hold these (`open`). See
 * docs/references.md, *From Git*.
 */

import { join } from 'node:path';
import pLimit from 'p-limit';
import type { Pin } from '../enrolment/ports.ts';
import { declaredActor, declaredFiles } from '../formats/declared.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { Reference } from '../formats/reference.ts';
import type { DeclaredPolicy } from '../in-force/ports.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import { parsePolicy } from '../policy/file/policy-file.ts';
import type { Declaration } from '../references/declare.ts';
import { Rejection } from '../wire/rejection.ts';
import { DirectoryFault } from './directory-fault.ts';
import { createDirectoryReader, type DirectoryReader } from './look.ts';
import type { DeclaredStore, DirectoryInForce, ReferenceChange } from './ports.ts';
import { type DeclaredDirectory, readDirectory } from './read-directory.ts';
import { readSigners } from './read-signers.ts';
import { snapshotOf } from './snapshot.ts';

export interface DeclaredConfig {
  readonly directory: string;
  /** Public keys, or files of them. */
  readonly keys: readonly string[];
  /** Milliseconds between two looks at the directory. */
  readonly lookEvery: number;
}

export interface DeclaredParts {
  readonly store: DeclaredStore;
  /** By which nodes can enrol at this server. */
  readonly methods: readonly EnrolmentMethod[];
  readonly now: () => number;
  /** Called with the serial that is in force. */
  readonly inForce: (serial: number) => void;
  readonly fault: (error: unknown, where: string) => void;
}

/** The rooms that put a directory in force; each leaves everything as it was if it throws. */
export interface DeclaredPorts {
  /** Who is enrolled with this key; null: nobody. */
  nodeByEk(ekDigest: string): Promise<{ readonly name: string } | null>;
  /** Calls `commit` with what becomes of the references, while nobody else changes any. */
  declare(
    declaration: Declaration,
    commit: (changes: readonly ReferenceChange[]) => Promise<void>,
  ): Promise<void>;
  /** Replaces the references by those that the declaration leaves. */
  declared(declaration: Declaration): Promise<readonly Reference[]>;
  /** Looks at what this policy (null: that of the settings) does to nodes with these references. @throws PolicyError */
  judge(policy: DeclaredPolicy | null, references: readonly Reference[]): Promise<void>;
  /** Puts this policy (null: that of the settings) in force with what `store` has stored. @throws PolicyError */
  adopt(policy: DeclaredPolicy | null, store: () => Promise<void>): Promise<void>;
  readonly told: {
    /** The directory counts as it is. */
    reloaded(part: 'declared'): void;
    /** It does not count: what was in force stays. */
    notReloaded(part: 'declared', error: Error): void;
  };
}

/** The directory of the settings, and which one of it is in force; null: none yet. */
export interface ShownDirectory {
  readonly directory: string;
  readonly inForce: DirectoryInForce | null;
}

/** References, pins and policy of a signed directory. */
export interface Declared extends AsyncDisposable {
  /** The directory of the settings; null if there is none. */
  readonly directory: string | null;
  /** Which one is in force; null if none is. */
  inForce(): DirectoryInForce | null;
  /** The same for people; null if the settings name no directory. */
  shown(): ShownDirectory | null;
  /** Its policy; null if it has none. */
  policy(): DeclaredPolicy | null;
  /** @throws Rejection `ek_already_bound` if its list of pins has another key for a node, or another node for a key */
  checkPins(pins: readonly Pin[]): Promise<void>;
  /** Looks at it, and again and again. What is wrong with it is reported, and is no reason not to start. */
  begin(ports: DeclaredPorts): Promise<void>;
  /** Reads keys and directory again. @throws DirectoryFault */
  read(): Promise<void>;
}

/** @throws Error for an invalid or unreadable key */
export async function openDeclared(config: DeclaredConfig | null, parts: DeclaredParts): Promise<Declared> {
  if (config === null) return none;
  const { directory } = config;
  const { store, now } = parts;
  let signers = await readSigners(config.keys);
  /** The earlier keys count: a directory that is right does not make that right. */
  let areKeysFaulty = false;
  let inForce = await store.read();
  parts.inForce(inForce?.serial ?? 0);
  const policyPath = join(directory, declaredFiles.policy);
  const oneByOne = pLimit(1);
  let looks: DirectoryReader | null = null;
  let timer: NodeJS.Timeout | undefined;
  /** Whether what is held was compared with it since the start. */
  let isCompared = false;

  const readNow = async () => readDirectory(await snapshotOf(directory), signers, parts.methods);
  /**
   * The directory to start with if the policy in force is not taken here: an earlier version took it, or a server with other
   * settings, and nothing could be merged that lets this one start. Whoever reads the policy reports what is wrong if this
   * fails, too.
   */
  let startsWith = isTaken(inForce?.policy ?? null, parts.methods)
    ? null
    : await readNow().then(
        (found) => (found.manifest.serial > (inForce?.serial ?? 0) ? found : null),
        () => null,
      );

  const apply = async ({ manifest, policy, pins, references }: DeclaredDirectory, to: DeclaredPorts) => {
    const { serial, digest, signer, restored } = manifest;
    const isSame = inForce?.digest === digest;
    if (isSame && isCompared) return;
    if (!isSame) checkSerial(serial, inForce);
    for (const { node, ekDigest } of isSame ? [] : pins) {
      const holder = await to.nodeByEk(ekDigest);
      if (holder !== null && holder.name !== node)
        throw new DirectoryFault('pins', `pins.csv: the key of ${node} is enrolled as ${holder.name}`);
    }
    const next = { serial, digest, key: signer.name, at: now(), policy };
    const declaration = { ...next, before: inForce?.serial ?? 0, restored, references };
    const audit = {
      at: next.at,
      actor: declaredActor(signer.name),
      action: 'declare',
      subject: directory,
      code: null,
    } as const;
    const detail = {
      serial,
      manifest: digest,
      key: signer.fingerprint,
      policy: policy !== null,
      pins: pins.length,
      references: references.length,
    };
    const before = inForce;
    const declaredPolicy = policy === null ? null : { source: policyPath, text: policy };
    await to.judge(declaredPolicy, await to.declared(declaration));
    const putInForce = to.declare(declaration, async (changes) => {
      // While the settings named no directory, people changed what it declares as if it were theirs.
      if (isSame && changes.length === 0) return;
      await to.adopt(declaredPolicy, async () => {
        const changed = { ...detail, changed: changes.length };
        await store.apply({
          directory: next,
          references: changes,
          pins,
          audit: { ...audit, detail: changed },
        });
        inForce = next;
      });
    });
    await putInForce.catch((error: unknown) => {
      // It may be stored and not in force: the next look does the same again.
      inForce = before;
      throw error;
    });
    isCompared = true;
    parts.inForce(serial);
  };

  const read = async (to: DeclaredPorts) => {
    try {
      await apply(await readNow(), to);
    } catch (error) {
      throw faultOf(error);
    }
  };

  return {
    directory,
    inForce: () => inForce,
    shown: () => ({ directory, inForce }),
    policy() {
      const text = startsWith === null ? inForce?.policy : startsWith.policy;
      return text == null ? null : { source: policyPath, text };
    },
    async checkPins(pins) {
      for (const pin of pins)
        if (await store.hasOtherPin(pin))
          throw new Rejection(
            'ek_already_bound',
            `${join(directory, declaredFiles.pins)} binds ${pin.node}, or this key, otherwise: change it there`,
          );
    },
    async begin(to) {
      const { fault } = parts;
      const reloaded = () => {
        if (!areKeysFaulty) to.told.reloaded('declared');
      };
      const notReloaded = (error: Error) => to.told.notReloaded('declared', error);
      const begun = createDirectoryReader({ directory, read: () => read(to), reloaded, notReloaded, fault });
      await oneByOne(() => begun.look(true));
      if (startsWith !== null && startsWith.manifest.digest !== inForce?.digest)
        throw new Error(
          `${directory}: its serial ${startsWith.manifest.serial} does not come into force, and the policy of the one in force is not taken here`,
        );
      startsWith = null;
      looks = begun;
      timer = setInterval(() => {
        if (oneByOne.activeCount + oneByOne.pendingCount === 0) void oneByOne(() => begun.look(false));
      }, config.lookEvery);
    },
    async read() {
      const begun = looks;
      if (begun === null) return;
      await oneByOne(async () => {
        areKeysFaulty = true;
        signers = await readSigners(config.keys);
        areKeysFaulty = false;
        await begun.readNow();
      });
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await oneByOne(() => {});
    },
  };
}

/** Where no directory is declared. */
const none: Declared = {
  directory: null,
  inForce: () => null,
  shown: () => null,
  policy: () => null,
  async checkPins() {},
  async begin() {},
  async read() {},
  async [Symbol.asyncDispose]() {},
};

/** Attack: who may write the directory, and has no key, puts back what was signed before. */
function checkSerial(serial: number, inForce: DirectoryInForce | null): void {
  if (inForce === null || serial > inForce.serial) return;
  throw new DirectoryFault(
    'serial',
    serial < inForce.serial
      ? `the manifest has the serial ${serial}, and ${inForce.serial} was in force: an older one does not count`
      : `another manifest of the serial ${serial} is in force: sign this one with a higher serial`,
  );
}

function isTaken(policy: string | null, methods: readonly EnrolmentMethod[]): boolean {
  if (policy === null) return true;
  try {
    parsePolicy(policy, declaredFiles.policy, methods);
    return true;
  } catch (error) {
    if (error instanceof PolicyError) return false;
    throw error;
  }
}

function faultOf(error: unknown): unknown {
  if (error instanceof PolicyError) return new DirectoryFault('policy', error.message, error);
  if (error instanceof Rejection && error.code === 'too_large')
    return new DirectoryFault('too_large', error.message, error);
  return error;
}
