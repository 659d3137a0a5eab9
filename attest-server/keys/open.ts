/**
 * Keys of disks: one for each volume of a node, leased to a boot that has just proven itself. `refusal` decides from what
 * that very answer proved, `release` seals the key to this TPM in this boot for two minutes, and the store counts, in one
 * statement, before anything leaves. `volumes` makes volumes for people, `formatting` has a node format one once, and replace its key,
 * `escrow` is the way in without this server, and `rewrapping` follows a new wrapping key. See docs/disk-keys.md.
 */

import { randomBytes } from 'node:crypto';
import pLimit from 'p-limit';
import type { AuditEvent } from '../formats/audit.ts';
import { plainAddress } from '../policy/keys.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { FormattedMessage, UnlockedMessage } from '../wire/disk-messages.ts';
import { parseKeyRequest } from '../wire/key-request.ts';
import { Formatting } from './formatting.ts';
import type {
  Delivered,
  KeyDecision,
  KeyHolder,
  KeyQuestion,
  LeaseStore,
  StoredVolume,
  WrappingKeys,
} from './ports.ts';
import { type KeyRefusal, refusalOf } from './refusal.ts';
import { RefusedBoots } from './refused-boots.ts';
import { sealRelease } from './release.ts';
import { Rewrapping } from './rewrapping.ts';
import { Volumes } from './volumes.ts';

export interface KeysParts {
  readonly store: LeaseStore;
  /** Null: this server holds no keys of disks. */
  readonly wrapping: WrappingKeys | null;
  /** The node that the server runs on; null: none that it knows of. */
  readonly ownNode: string | null;
  /** Decisions of people to let nodes work untrusted, until a time. */
  exemptions(): Promise<readonly { readonly node: string; readonly until: number }[]>;
  /** The group of a node at present. */
  groupOf(node: string): Pick<PolicyGroup, 'name' | 'keys'>;
  /** Puts the stored references in force. */
  referencesChanged(): Promise<void>;
  /** Milliseconds since the epoch. */
  now(): number;
  readonly report: KeysReport;
}

export interface KeysReport {
  /** @param newAddress to which none of its keys went before; null: it is known, or the first one */
  released(node: string, newAddress: string | null): void;
  /** @param isNews false: it repeats what this boot was answered before */
  refused(node: string, volume: string, refusal: KeyRefusal, isNews: boolean): void;
  /** A node opened another disk than the one that its key is for. @param header its digest */
  otherHeader(node: string, header: string): void;
  rewrapped(volumes: number): void;
  fault(error: unknown, where: string): void;
}

export interface Keys extends AsyncDisposable {
  decide(question: KeyQuestion): Promise<KeyDecision>;
  /** Whether the node with this endorsement key has formatted a volume. */
  hasLease(ekDigest: string): boolean;
  /** Whether it ever said that one is open. */
  hasOpened(ekDigest: string): boolean;
  /** A proven `unlock` of this node reports what became of a lease. @throws Rejection */
  reported(node: KeyHolder, report: UnlockedMessage | FormattedMessage): Promise<void>;
  /** It is to format a volume, and this is its header. @throws Rejection */
  keepHeader(node: KeyHolder, leaseId: string, header: Buffer): Promise<void>;
  readonly volumes: Volumes;
  /** Calls the listener when a key went to an address to which none of its node's keys went before. */
  onNewAddress(listener: (node: string, address: string) => void): void;
}

/** How often one boot may ask for one key: a crash between release and open asks again. */
const mostDeliveries = 5;

export async function openKeys(parts: KeysParts): Promise<Keys> {
  const { store, wrapping, now, report } = parts;
  const refusals = await RefusedBoots.open(store);
  const listeners: Parameters<Keys['onNewAddress']>[0][] = [];
  const volumes = await store.volumes();
  const tpmsWith = (moment: 'formattedAt' | 'cappedAt') =>
    new Set(volumes.flatMap((volume) => (volume[moment] === null ? [] : [volume.ekDigest])));
  const [leased, opened] = [tpmsWith('formattedAt'), tpmsWith('cappedAt')];
  const wraps = pLimit(1);
  const rewrapping = new Rewrapping({ ...parts, inTurn: wraps });
  const audited = (node: string, action: AuditEvent['action'], detail: AuditEvent['detail']): AuditEvent => ({
    at: now(),
    actor: 'server',
    action,
    subject: node,
    code: null,
    detail,
  });

  const inTurn = pLimit(1);
  let waiting: Promise<void> | null = null;
  const referencesMoved = (): void => {
    // Of many that boot at once, one for all that came meanwhile.
    waiting ??= inTurn(() => {
      waiting = null;
      return parts.referencesChanged();
    }).catch((error: unknown) => report.fault(error, 'references of volumes'));
  };
  const formatting = new Formatting({ ...parts, referencesMoved });
  /** Before its node shows the volume open: its disk is as it should be from the first answer on. */
  const enrol = async ({ uuid, node }: StoredVolume): Promise<void> => {
    try {
      const isNew = await store.enrol(uuid, ({ name, kind, state }) => ({
        ...audited(node, 'reference.capture', { kind, node, nodes: node, state, volume: uuid }),
        subject: name,
      }));
      if (isNew) referencesMoved();
    } catch (error) {
      // The key is due all the same.
      report.fault(error, `reference of volume ${uuid}`);
    }
  };

  const isExempt = async (name: string) =>
    (await parts.exemptions()).some(({ node, until }) => node === name && until > now());

  const refuse = ({ node, proven }: KeyQuestion, volume: string, refusal: KeyRefusal): KeyDecision => {
    const { name, ekDigest } = node;
    const refused = { ekDigest, volume, resetCount: proven.clock.resetCount, ...refusal };
    const isNews = refusals.isNews(refused);
    return {
      isNews,
      async carryOut(evidence) {
        const { code, text } = refusal;
        const entry = { ...audited(name, 'key.refuse', { volume, text, evidence }), code };
        await refusals.keep({ ...refused, at: now() }, isNews ? entry : null);
        report.refused(name, volume, refusal, isNews);
        return { refusal: code };
      },
    };
  };

  return {
    async decide(question) {
      const { node, proven } = question;
      const address = question.address === null ? null : plainAddress(question.address);
      const { volume: uuid } = parseKeyRequest(question.keyRequest);
      if (wrapping === null)
        return refuse(question, uuid, {
          code: 'key_withheld',
          text: 'this server holds no keys of disks: keys.wrappingKeyFile names no wrapping key',
        });
      const volume = await store.volume(uuid);
      if (volume === null)
        return refuse(question, uuid, {
          code: 'key_subject_mismatch',
          text: 'the server knows no volume of this UUID',
        });
      const refusal = refusalOf(question, volume, await isExempt(node.name));
      if (refusal !== null) return refuse(question, uuid, refusal);
      const boot = {
        ekDigest: node.ekDigest,
        volume: uuid,
        resetCount: proven.clock.resetCount,
        most: mostDeliveries,
        rotatingSince: volume.rotation?.since ?? null,
      };
      // Before its evidence is kept: a boot may ask without end.
      const spent = await store.spent(boot);
      if (spent !== null) return refuse(question, uuid, ended(spent));
      return {
        isNews: true,
        async carryOut(evidence) {
          // First: a key that cannot be unwrapped is not counted.
          using sealed = sealRelease(question, volume, wrapping);
          const delivered = await store.deliver(
            { ...boot, address, at: now(), leaseId: randomBytes(16).toString('hex') },
            ({ leaseId, deliveries, isNewAddress }) =>
              audited(node.name, 'key.release', {
                volume: uuid,
                lease: leaseId,
                deliveries,
                resetCount: boot.resetCount,
                evidence,
                address,
                ...(isNewAddress && { newAddress: true }),
                ...(volume.formattedAt === null && { format: true }),
              }),
          );
          // Of many that asked at once.
          if (typeof delivered === 'string')
            return refuse(question, uuid, ended(delivered)).carryOut(evidence);
          if (volume.formattedAt !== null && volume.isToEnrol) await enrol(volume);
          refusals.released(node.ekDigest);
          const newAddress = delivered.isNewAddress ? address : null;
          report.released(node.name, newAddress);
          if (newAddress !== null) for (const listener of listeners) listener(node.name, newAddress);
          return { release: sealed.frame(delivered.leaseId) };
        },
      };
    },

    async reported(node, { type, leaseId, headerDigest }) {
      const { name, ekDigest } = node;
      if (type === 'formatted') {
        await formatting.formatted(node, leaseId, headerDigest);
        leased.add(ekDigest);
        return;
      }
      const volume = await store.leased({ leaseId, ekDigest });
      const entry = audited(name, 'key.unlock', { lease: leaseId, header: headerDigest });
      // Attack: who ran as assay-unlock left a note for another disk, which the cap took for ours.
      const isOther =
        volume !== null &&
        volume.headerDigest !== null &&
        ![volume.headerDigest, volume.rotation?.headerDigest].includes(headerDigest);
      const code = isOther ? 'luks_header_changed' : null;
      const isEnded = await store.consume({ leaseId, ekDigest, at: now() }, { ...entry, code });
      if (isEnded) opened.add(ekDigest);
      if (isEnded && isOther) report.otherHeader(name, headerDigest);
    },

    hasLease: (ekDigest) => leased.has(ekDigest),
    hasOpened: (ekDigest) => opened.has(ekDigest),

    keepHeader: (node, leaseId, header) => formatting.keepHeader(node, leaseId, header),
    volumes: new Volumes({
      ...parts,
      rewrap: () => rewrapping.again(),
      inTurn: wraps,
      leased: (ekDigest) => leased.add(ekDigest),
    }),
    onNewAddress: (listener) => void listeners.push(listener),

    async [Symbol.asyncDispose]() {
      await rewrapping.end();
      await inTurn(() => {});
    },
  };
}

const endings: Readonly<Record<Extract<Delivered, string>, string>> = {
  lease_consumed: 'this boot has said that its disks are open',
  lease_exhausted: `this boot got the key ${mostDeliveries} times, and has not said that the disk is open`,
  key_withheld: 'the volume was removed, or its key revoked or replaced, while it was asked for',
};

function ended(code: keyof typeof endings): KeyRefusal {
  return { code, text: endings[code] };
}
