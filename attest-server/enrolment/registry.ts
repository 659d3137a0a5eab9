import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import pLimit from 'p-limit';
import type { ShownTokens } from '../channel/session.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { VouchedTpm } from '../verify/endorsement-paths.ts';
import type { Hello } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import { roles } from '../wire/roles.ts';
import { byCloud, type ClusterPorts, checkClusterToken } from './cluster.ts';
import { type Alert, doubleBinding } from './double-binding.ts';
import type { EnrolledNode, EnrolmentStore, JoinToken, Pin, Superseded, TpmKeys } from './ports.ts';

/** The keys of a `hello`, after their checks. What checks them is the caller's: this room decides only who is who. */
export interface CheckedKeys extends TpmKeys {
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly akPublicArea: Buffer;
}

/** When and from where a hello came. */
export interface Arrival {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** As bounds are counted. */
  readonly source: string;
}

export type IdentifiedTpm =
  /** This EK and this AK are enrolled together. */
  | { readonly known: EnrolledNode }
  /**
   * An enrolment method binds this EK to the name; enrol once the TPM has activated the credential. What roots say of
   * it is not known before.
   */
  | { readonly candidate: EnrolledNode; readonly joinTokenId: string | null };

export interface Registry {
  /**
   * @throws Rejection `identity_claim_mismatch`, `ak_mismatch`, `ek_already_bound`, `token_rejected`, `enrolment_pending`
   */
  identify(hello: Hello, keys: CheckedKeys, tokens: ShownTokens, arrival: Arrival): Promise<IdentifiedTpm>;
  /**
   * Another machine of the cloud takes the name of the one before.
   * @param vouched what the roots say of the TPM, which has activated its credential
   * @returns the record
   * @throws Rejection `ek_already_bound`, `ek_untrusted_root`, `enrolment_pending`
   */
  enrol(candidate: EnrolledNode, joinTokenId: string | null, vouched: VouchedTpm): Promise<EnrolledNode>;
  /** @throws Rejection `ek_already_bound` if another node has one of the keys */
  importPins(pins: readonly Pin[], actor: string, now: number): Promise<void>;
  /** Gives the token's text, shown once. */
  createJoinToken(request: { node: string; ttlMs: number; actor: string; now: number }): Promise<string>;
  /** False if no unused one has that id. */
  revokeJoinToken(id: string, actor: string, now: number): Promise<boolean>;
}

/** The enrolment method that binds a key to a name, and what of it is used up or kept. */
interface MethodUsed {
  readonly by: EnrolmentMethod;
  /** As `enrolledBy` of a node. */
  readonly who: string | null;
  readonly joinTokenId?: string;
  readonly providerId?: string;
}

/** At most 24 h: a join token is for now. */
const longestJoinTokenMs = 24 * 3600_000;

export interface RegistryParts {
  readonly store: EnrolmentStore;
  /** Whether the policy of this node's group allows that method. */
  readonly mayEnrol: (node: string, by: EnrolmentMethod) => boolean;
  /** @throws Rejection if a signed directory pins this name or this key otherwise */
  readonly checkPins: (pins: readonly Pin[]) => Promise<void>;
  /** Of the server; SHA-256 of its public key, hex, is part of each join token. */
  readonly authority: { readonly digest: string };
  /** How many nodes of one source may be bound by first use. */
  readonly firstUsePerSource: number;
  readonly alert: Alert;
  /** Whether the server is on trial. */
  readonly trial: boolean;
  /** Null: nobody enrols by `cloud` or `vendor`. */
  readonly clusterPorts: ClusterPorts | null;
}

/** Which endorsement key is which node, and by which enrolment method. */
export function createRegistry(parts: RegistryParts): Registry {
  const { store, mayEnrol, alert, clusterPorts, firstUsePerSource, trial } = parts;
  const firstUses = pLimit(1);
  return {
    async identify(hello, keys, tokens, { at: now, source }) {
      const record = await store.nodeByEk(keys.ekDigest);
      if (record !== null) {
        const { join } = tokens;
        if (record.name !== hello.node && join !== null && (await isGood(join, hello.node, now)))
          throw doubleBinding(alert, { wanted: hello.node, holder: record.name, actor: 'server' }, [
            record.name,
          ]);
        return { known: checkTrial(checkRecord(record, hello, keys), trial) };
      }
      // Attack: one TPM as two nodes, so that it answers for a machine that was tampered with.
      const twin = await store.holderOf(keys);
      if (twin !== null && twin.name !== hello.node)
        throw new Rejection('ek_already_bound', `the TPM of ${twin.name} came under the name ${hello.node}`);
      const holder = await store.node(hello.node);
      const bound =
        holder === null
          ? await methodFor(hello, keys, tokens, { at: now, source })
          : await byAnotherMachine(holder, keys);
      // Else another TPM under an enrolled name changes nothing, whatever else it brings.
      if (bound === null)
        throw new Rejection('enrolment_pending', `another TPM is enrolled as ${hello.node}`);
      const isFirstUse = bound.by === 'first-use';
      if (isFirstUse) await checkFirstUses(source);
      return {
        candidate: {
          ...keys,
          name: hello.node,
          bound: bound.by,
          // With SHA-1 alone it proves nothing; once its firmware has another, its first proof fixes them.
          banks: hello.banks.some((bank) => bank !== 'sha1') ? hello.banks : null,
          enrolledAt: now,
          enrolledBy: bound.who,
          endorsedBy: null,
          manufacturer: null,
          tpmClass: 'unknown',
          ...(bound.providerId !== undefined && { providerId: bound.providerId }),
          ...(trial && { trial }),
          // Of a TPM for which no root vouches the policy may take the first use instead: that is known once it is proven.
          ...((isFirstUse || (bound.by === 'vendor' && mayEnrol(hello.node, 'first-use'))) && {
            enrolledFrom: source,
          }),
        },
        joinTokenId: bound.joinTokenId ?? null,
      };
    },

    async enrol(shown, joinTokenId, { notVouched, endorsedBy, manufacturer, tpmClass }) {
      const { enrolledFrom, ...claimed } = notVouched === null ? shown : byFirstUse(shown);
      const isFirstUse = claimed.bound === 'first-use';
      // A token says which name, not that the TPM is one: a program of the sender's would do.
      if (notVouched !== null && (claimed.bound === 'join-token' || claimed.bound === 'vendor'))
        throw notVouched;
      const candidate: EnrolledNode = {
        ...claimed,
        endorsedBy,
        manufacturer,
        tpmClass,
        ...(isFirstUse && enrolledFrom !== undefined && { enrolledFrom }),
      };
      const event: AuditEvent = {
        at: candidate.enrolledAt,
        actor: `agent:${candidate.name}`,
        action: 'enrol',
        subject: candidate.name,
        code: null,
        detail: {
          bound: candidate.bound,
          ek: candidate.ekDigest,
          ak: candidate.akName,
          tpmClass: candidate.tpmClass,
          endorsedBy: candidate.endorsedBy,
          ...(candidate.providerId !== undefined && { providerId: candidate.providerId }),
          ...(candidate.trial && { trial: true }),
        },
      };
      const superseded = supersededBy(candidate, await store.node(candidate.name));
      const enrol = () =>
        store.enrol(candidate, event, joinTokenId ?? undefined, superseded).catch(asDoubleBinding(candidate));
      if (!isFirstUse || enrolledFrom === undefined) await enrol();
      else {
        // One after the other: else many at once pass the bound together.
        await firstUses(async () => {
          await checkFirstUses(enrolledFrom);
          await enrol();
        });
      }
      return candidate;
    },

    async importPins(pins, actor, now) {
      await parts.checkPins(pins);
      for (const pin of pins) {
        const record = await store.nodeByEk(pin.ekDigest);
        if (record !== null && record.name !== pin.node)
          throw doubleBinding(alert, { wanted: pin.node, holder: record.name, actor });
      }
      const detail = { count: pins.length };
      await store.addPins(pins, { at: now, actor, action: 'ek.import', subject: 'pins', code: null, detail });
    },

    async createJoinToken({ node, ttlMs, actor, now }) {
      const id = newId();
      const secret = randomBytes(32).toString('base64url');
      const expiresAt = now + Math.min(ttlMs, longestJoinTokenMs);
      await store.addJoinToken(
        { id, secretHash: hash('sha256', secret, 'hex'), node, expiresAt, usedAt: null, by: actor },
        { at: now, actor, action: 'join-token.create', subject: node, code: null, detail: { id, expiresAt } },
      );
      return `assay-join.v1.${id}.${secret}.${parts.authority.digest}`;
    },

    revokeJoinToken: (id, actor, now) =>
      store.removeJoinToken(id, (node) => ({
        at: now,
        actor,
        action: 'join-token.revoke',
        subject: node,
        code: null,
        detail: { id },
      })),
  };

  async function methodFor(
    { node, role }: Hello,
    keys: CheckedKeys,
    tokens: ShownTokens,
    { at: now, source }: Arrival,
  ): Promise<MethodUsed> {
    const { ekDigest } = keys;
    // Attack: the pin was used up, and its node revoked: a token, the cluster or the first use gives the name to another TPM.
    await parts.checkPins([{ node, ekDigest }]).catch((error: unknown) => {
      throw error instanceof Rejection ? new Rejection('enrolment_pending', error.message) : error;
    });
    const pin = await store.pinFor(node);
    if (pin !== null && mayEnrol(node, 'pin')) {
      if (pin.ekDigest === ekDigest) return { by: 'pin', who: pin.by };
      throw new Rejection('enrolment_pending', `${node} is pinned to another endorsement key`);
    }
    const approval = await store.approvalFor(node);
    if (approval !== null && mayEnrol(node, 'approval')) {
      if (approval.ekDigest === ekDigest) return { by: 'approval', who: approval.by };
      throw new Rejection('enrolment_pending', `another endorsement key is approved for ${node}`);
    }
    const machine = await methodOfCloud(node, keys);
    if (machine !== null) return machine;
    // What runs before kubelet is enrolled only where somebody named this very key.
    if (!roles[role].showsTokens)
      throw new Rejection('enrolment_pending', `nobody has named the endorsement key of ${node}`);
    if (tokens.cluster !== null && clusterPorts !== null && mayEnrol(node, 'vendor')) {
      await checkClusterToken(clusterPorts.cluster, node, tokens.cluster, {
        source,
        node: null,
        isAtHome: false,
      });
      if (await store.wasRevoked(keys)) throw wasRevoked(node);
      return { by: 'vendor', who: 'cluster' };
    }
    if (tokens.join !== null && mayEnrol(node, 'join-token')) {
      const { id, by: who } = await checkJoinToken(tokens.join, node, now);
      return { by: 'join-token', who, joinTokenId: id };
    }
    // A key that a person took back does not come in again because it is the first.
    if (mayEnrol(node, 'first-use') && !(await store.wasRevoked(keys)))
      return { by: 'first-use', who: 'node' };
    throw new Rejection('enrolment_pending', `nobody has vouched for the endorsement key of ${node}`);
  }

  async function checkFirstUses(source: string): Promise<void> {
    if ((await store.firstUsesFrom(source)) < firstUsePerSource) return;
    throw new Rejection(
      'enrolment_pending',
      `${firstUsePerSource} nodes of ${source} are bound by first use: approve them, or raise firstUsePerSource`,
    );
  }

  /** Somebody vouched for a TPM that is another node: that one is reported, too. */
  function asDoubleBinding(candidate: EnrolledNode): (error: unknown) => Promise<never> {
    return async (error) => {
      if (!(error instanceof Rejection) || error.code !== 'ek_already_bound') throw error;
      const holder = await store.holderOf(candidate);
      if (holder === null || holder.name === candidate.name) throw error;
      const about = { wanted: candidate.name, holder: holder.name, actor: 'server' };
      throw doubleBinding(alert, about, [holder.name]);
    };
  }

  async function methodOfCloud(node: string, keys: TpmKeys, boundTo?: string): Promise<MethodUsed | null> {
    if (clusterPorts === null || !mayEnrol(node, 'cloud')) return null;
    const machine = await byCloud(clusterPorts, node, keys.ekDigest, boundTo);
    if (machine === null) return null;
    if (await store.wasRevoked(keys, machine.providerId)) throw wasRevoked(node);
    return { by: 'cloud', who: 'cloud', ...machine };
  }

  /** The cloud frees only a name that the cloud bound: what a person bound, a person frees. */
  async function byAnotherMachine(holder: EnrolledNode, keys: TpmKeys): Promise<MethodUsed | null> {
    if (holder.providerId === undefined || (await store.pinFor(holder.name)) !== null) return null;
    return methodOfCloud(holder.name, keys, holder.providerId);
  }

  async function isGood(joinToken: string, node: string, now: number): Promise<boolean> {
    return checkJoinToken(joinToken, node, now).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Rejection) return false;
        throw error;
      },
    );
  }

  async function checkJoinToken(text: string, node: string, now: number): Promise<JoinToken> {
    const [id = '', secret = ''] = text.split('.', 2);
    const token = await store.joinToken(id);
    const digest = Buffer.from(hash('sha256', secret, 'hex'));
    const same = timingSafeEqual(digest, Buffer.from(token?.secretHash ?? hash('sha256', '', 'hex')));
    if (token === null || !same) throw noJoinToken('is not known here');
    if (token.node !== node) throw noJoinToken('is for another node');
    if (token.usedAt !== null) throw noJoinToken(`was used at ${new Date(token.usedAt).toISOString()}`);
    if (now > token.expiresAt) throw noJoinToken(`expired at ${new Date(token.expiresAt).toISOString()}`);
    return token;
  }
}

/** A TPM that came as `vendor` without a root that vouches for it, as most virtual TPMs do, where the policy allows first use too. */
function byFirstUse(claimed: EnrolledNode): EnrolledNode {
  if (claimed.bound !== 'vendor' || claimed.enrolledFrom === undefined) return claimed;
  return { ...claimed, bound: 'first-use', enrolledBy: 'node' };
}

function newId(): string {
  for (;;) {
    const id = randomBytes(9).toString('base64url');
    // Else it looks like an option where it is revoked.
    if (!id.startsWith('-')) return id;
  }
}

/** The holder of the name, where the cloud gave the name to another machine after it. */
function supersededBy(candidate: EnrolledNode, holder: EnrolledNode | null): Superseded | undefined {
  const { name, providerId, enrolledAt } = candidate;
  if (holder?.providerId === undefined || providerId === undefined) return undefined;
  if (holder.providerId === providerId || holder.enrolledAt > enrolledAt) return undefined;
  const { ekDigest, akName, bound } = holder;
  const reason = `superseded by ${providerId}`;
  const detail = { reason, ek: ekDigest, ak: akName, bound, enrolledAt: holder.enrolledAt };
  return {
    ekDigest,
    reason,
    audit: {
      at: enrolledAt,
      actor: 'server',
      action: 'enrol.revoke',
      subject: name,
      code: null,
      detail: { ...detail, providerId: holder.providerId },
    },
  };
}

/** For people: the agent gets only the code. */
function noJoinToken(why: string): Rejection {
  return new Rejection('enrolment_pending', `the join token ${why}: create a new one`);
}

/** A revocation uses up every method by which a key came in: none counts again because it still holds. */
function wasRevoked(node: string): Rejection {
  return new Rejection('enrolment_pending', `the key of ${node} was revoked: approve it, or pin it again`);
}

/** Attack: a TPM that is a program, whose keys anybody may copy, was taken in for a trial and stays when that is over. */
function checkTrial(record: EnrolledNode, isOnTrial: boolean): EnrolledNode {
  if (record.trial !== true || isOnTrial) return record;
  throw new Rejection(
    'trial_enrolment',
    `${record.name} enrolled while the server was on trial: nobody has approved its key since`,
  );
}

function checkRecord(record: EnrolledNode, hello: Hello, keys: CheckedKeys): EnrolledNode {
  if (record.name !== hello.node)
    throw new Rejection(
      'identity_claim_mismatch',
      `the TPM of ${record.name} came under the name ${hello.node}`,
    );
  if (record.akName !== keys.akName)
    throw new Rejection('ak_mismatch', `${record.name} is enrolled with another attestation key`);
  // Attack: a bank is switched off, so that what it would show of a boot is not quoted.
  const gone = record.banks?.find((bank) => bank !== 'sha1' && !hello.banks.includes(bank));
  if (gone !== undefined)
    throw new Rejection(
      'weak_bank',
      `the TPM of ${record.name} had a ${gone} bank when it was enrolled, and that bank has no PCRs now`,
    );
  return record;
}
