import { setImmediate } from 'node:timers/promises';
import type { NodeStatus } from '../attest/ports.ts';
import type { Reference } from '../formats/reference.ts';
import {
  type BootForecast,
  bootsAgain,
  forecastBoot,
  installedIn,
  type KnownDigests,
  knownDigests,
} from '../policy/boot/next-boot.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { Reason } from '../wire/verdict.ts';
import type { ReferenceStore } from './ports.ts';

/** The forecast for one node. Nothing rests on it. */
export interface NextBoot extends BootForecast {
  /** The key of a disk is kept for it: a boot that is not affirmed gets none. */
  readonly hasLease: boolean;
}

type ForetoldStatus = Pick<
  NodeStatus,
  'name' | 'ekDigest' | 'parts' | 'verdict' | 'verifiedAt' | 'expiresAt'
>;

export interface NextBootPorts {
  readonly store: Pick<ReferenceStore, 'list'>;
  /** Nodes that are not gone. */
  statuses(): readonly ForetoldStatus[];
  /** Of kept evidence of the node; null if it is gone. */
  readPart(digest: string, node: string): Promise<Buffer | null>;
  groupOf(node: string): PolicyGroup;
  hasLease(ekDigest: string): boolean;
  /** A boot of it has said that such a disk is open: what lies in its place before that is what lay there. */
  hasOpened(ekDigest: string): boolean;
  /** Policy and references in force: another object once one of them is another. */
  inForce(): object;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** The references of one moment. */
interface Basis {
  readonly inForce: object;
  readonly known: KnownDigests;
  /** When one of them begins or ends to count, milliseconds since the epoch. */
  readonly until: number;
}

interface KeptForecast {
  /** All that it is made from besides the basis; null: some of that is not kept here, and may come. */
  readonly key: string | null;
  readonly nextBoot: NextBoot;
}

/** Nodes that are looked at before others may go on. */
const atOnce = 100;

/** Forecasts for nodes, each kept until what it is made from is another. */
export class NextBoots {
  readonly #ports: NextBootPorts;
  #basis: Basis | null = null;
  #kept = new Map<string, KeptForecast>();

  constructor(ports: NextBootPorts) {
    this.#ports = ports;
  }

  /**
   * By node, of those whose policy requires the boot, and those with a disk whose key is kept here.
   * @param only this node; default: all
   */
  async by(only?: string): Promise<ReadonlyMap<string, NextBoot>> {
    const basis = await this.#basisNow();
    const found = new Map<string, NextBoot>();
    const kept = new Map<string, KeptForecast>();
    let made = 0;
    for (const status of this.#ports.statuses()) {
      const { name } = status;
      if (only !== undefined && name !== only) continue;
      const group = this.#ports.groupOf(name);
      const hasLease = this.#ports.hasLease(status.ekDigest);
      if (!group.require.includes('boot') && !hasLease) continue;
      const isSilent = status.expiresAt === null || this.#ports.now() >= status.expiresAt;
      const isAffirmed = status.verdict !== null && bootsAgain(status.verdict, hasLease);
      const headers = status.verdict?.reasons.filter(({ code }) => code === 'luks_header_changed') ?? [];
      const hasOtherHeader = headers.some(isOfLeased);
      const isOther = headers.some((reason) => !isOfLeased(reason));
      const hasOtherVolume = isOther && this.#ports.hasOpened(status.ekDigest);
      const its = { name, group, isAffirmed, hasLease, hasOtherHeader, hasOtherVolume };
      const flags = [isSilent, isAffirmed, hasLease, hasOtherHeader, hasOtherVolume];
      const key = [group.name, status.parts.installed, ...flags].join(' ');
      const known = this.#kept.get(name);
      const one = known?.key === key ? known : await this.#foretell(status, basis, isSilent, key, its);
      kept.set(name, one);
      found.set(name, one.nextBoot);
      if (one !== known && ++made % atOnce === 0) await setImmediate();
    }
    if (basis !== this.#basis) return found;
    // Who is gone is kept no longer.
    if (only === undefined) this.#kept = kept;
    else for (const [name, one] of kept) this.#kept.set(name, one);
    return found;
  }

  async #basisNow(): Promise<Basis> {
    const { store, inForce, now } = this.#ports;
    const its = inForce();
    if (this.#basis?.inForce === its && now() < this.#basis.until) return this.#basis;
    const references = (await store.list()).filter(({ kind }) => kind === 'boot');
    this.#basis = { inForce: its, known: knownDigests(references), until: nextMoment(references, now()) };
    this.#kept = new Map();
    return this.#basis;
  }

  async #foretell(
    { name, parts, verifiedAt }: ForetoldStatus,
    { known }: Basis,
    isSilent: boolean,
    key: string,
    node: Parameters<typeof forecastBoot>[2],
  ): Promise<KeptForecast> {
    const { readPart, now } = this.#ports;
    const { installed: digest } = parts;
    const bytes = digest === undefined || isSilent ? undefined : await readPart(digest, name);
    const installed = isSilent ? silentSince(verifiedAt) : installedIn(bytes);
    const nextBoot = { ...forecastBoot(installed, known, node, now()), hasLease: node.hasLease };
    return { key: bytes === null ? null : key, nextBoot };
  }
}

/** Of a volume whose reference the server made: another volume in its place shows nothing of this one. */
function isOfLeased({ reference }: Reason): boolean {
  return reference?.startsWith('disk-') === true;
}

function silentSince(verifiedAt: number | null): string {
  const when = verifiedAt === null ? '' : `: its latest proof is of ${new Date(verifiedAt).toISOString()}`;
  return `it is silent${when}`;
}

function nextMoment(references: readonly Reference[], at: number): number {
  const moments = references.flatMap(({ expires, announced }) => [expires, announced?.at, announced?.until]);
  const later = moments.flatMap((moment) =>
    moment == null || Date.parse(moment) <= at ? [] : [Date.parse(moment)],
  );
  return Math.min(Number.POSITIVE_INFINITY, ...later);
}
