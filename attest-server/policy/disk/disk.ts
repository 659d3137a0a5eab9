/**
 * One aspect: rules, judge, doubts, advice and memory of disks. `layers` walks from a mount down to disks, and
 * `volume-devices` tells which of those are volumes of pods; `lease` goes by the cap of the boot, and `exposure` by
 * what was open while the node was untrusted. See `docs/disk.md`.
 */

import { LRUCache } from 'lru-cache';
import type { Proven, ProvenPart } from '../../verify/proven.ts';
import { atMost } from '../../wire/at-most.ts';
import { type DiskPart, parseDiskPart } from '../../wire/disk.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { Aspect, AspectJudgement, JudgedNode, SharedVolume } from '../aspect.ts';
import type { Finding } from '../finding.ts';
import { lastExpiry } from '../last-expiry.ts';
import { type Keyed, keyed, remembering } from '../remembering.ts';
import { type VolumeKeys, volumeKeysIn } from '../volume-keys.ts';
import { advice, adviceByExpected } from './advice.ts';
import { captureDisk } from './capture.ts';
import { contradictionsIn, doubtsIn } from './doubts.ts';
import { draftDisk, observeDisk } from './draft.ts';
import { type EnrolledReferences, enrolledOf, enrolledReferences } from './enrolled.ts';
import { exposures, type LeasedKeys, leasedKeys, openKeys } from './exposure.ts';
import { noPart, sharedKey, unreadPart } from './findings.ts';
import { type DiskJudgement, judgeDisk } from './judge-disk.ts';
import { judgeLease, type LeaseJudgement, withLease } from './lease.ts';
import { type MeasuredTables, measuredTables, measuredText } from './measured-tables.ts';
import { type DiskMemory, volumeMarks } from './memory.ts';
import type { DiskRules } from './rules.ts';
import { diskRules, diskSchema } from './schema.ts';

/** Whether what containers store is encrypted, by the node's own word, and what the kernel measured of its mappings. */
export const disk: Aspect<'disk', DiskRules> = {
  name: 'disk',
  schema: diskSchema,
  parts: ['disk'],
  readsHost: false,
  referenceKind: 'disk',
  advice,
  adviceByExpected,
  paths: ({ paths }) => paths.map(({ path }) => path),
  capture: captureDisk,
  noModel: ['luks_key_shared'],
  observe: observeDisk,
  draft: draftDisk,
  rules: diskRules,
  named: ({ references }) => references,
  contradictions: contradictionsIn,
  doubts: doubtsIn,
  prepare(rules, { group, references, remembers }) {
    const isRequired = group.require.includes('disk');
    const enrolled = enrolledReferences(group.name, rules, references);
    const leased = leasedKeys(references);
    const expiredAt = lastExpiry(enrolled.active.map(({ expires }) => expires));
    const judged = remembering(
      (
        { digest, bytes }: ProvenPart,
        tables: MeasuredTables,
        ima: Proven['ima'],
        node: JudgedNode,
        at: number,
      ) => ({
        node: node.name,
        part: keyed([digest], { digest, bytes }),
        measured: keyed([measuredText(tables)], tables),
        isListed: ima !== null && 'head' in ima,
        shared: keyed([sharedText(node.sharedVolumes)], node.sharedVolumes),
        expiredBy: expiredAt(at),
        lease: judgeLease(rules, node),
        keys: keyedKeys(volumeKeysIn(node.past.memory)),
      }),
      (made) => judgePart(made, rules, enrolled, leased),
      { slot: ({ node }) => node, most: remembers ? mostRemembered : 0 },
    );
    // Where IMA's list is of those whose mappings it vouches for: all that it says of them is in each proof.
    const heads = new LRUCache<string, string>(atMost(mostRemembered));
    return {
      judgedTo: (node) => heads.get(node) ?? null,
      judge({ parts, ima }, node, at) {
        const unreadFor = (findings: readonly Finding[]) => {
          const { open, exposed } = volumeKeysIn(node.past.memory);
          const all = [...findings, ...exposures(open, exposed, leased)];
          return withLease(unread(all), judgeLease(rules, node).value);
        };
        if (parts.disk === undefined) return unreadFor(isRequired && !isSaidUnread(node) ? [noPart] : []);
        const tables = measuredTables(ima);
        if (tables.size > 0 && ima !== null && 'head' in ima) heads.set(node.name, ima.head);
        else heads.delete(node.name);
        const judgement = judged(parts.disk, tables, ima, node, at);
        return judgement ?? unreadFor([unreadPart('it was only named, and nobody has it')]);
      },
    };
  },
};

/** Nodes whose judgement is remembered, by group. */
const mostRemembered = 8192;

/** All that one node's judgement is made from. */
interface DiskInputs {
  readonly node: string;
  readonly part: Keyed<ProvenPart>;
  readonly measured: Keyed<MeasuredTables>;
  /** A list came that leads to the quote, whatever it says of mappings. */
  readonly isListed: boolean;
  readonly shared: Keyed<readonly SharedVolume[]>;
  /** Milliseconds since the epoch: which references have. */
  readonly expiredBy: number;
  readonly lease: Keyed<LeaseJudgement>;
  readonly keys: Keyed<VolumeKeys>;
}

function keyedKeys(keys: VolumeKeys): DiskInputs['keys'] {
  return keyed([keys.open.join(), keys.exposed.join()], keys);
}

function judgePart(
  { node, part, measured, isListed, shared, expiredBy, lease, keys }: DiskInputs,
  rules: DiskRules,
  enrolled: EnrolledReferences,
  leased: LeasedKeys,
): AspectJudgement | null {
  const { digest, bytes } = part.value;
  if (bytes === null) return null;
  const tables = measured.value;
  const parsed = parsedPart(bytes);
  const own: DiskJudgement =
    'fault' in parsed
      ? { findings: [unreadPart(parsed.fault)], affirmed: false, references: [] }
      : judgeDisk(parsed, rules, enrolledOf(node, enrolled, rules, expiredBy), tables);
  const copies = sharedFindings(shared.value);
  const evidence = { digest, position: 'part' };
  const { open, exposed } = keys.value;
  const shown = 'fault' in parsed ? null : openKeys(parsed, leased);
  const lasting = exposures(shown ?? open, exposed, leased);
  const findings = [...copies, ...own.findings, ...lasting].map((finding) => ({ ...finding, evidence }));
  const isWhole = !findings.some(({ code }) => code === 'facts_unavailable');
  const isInspected = !('fault' in parsed) && !('cause' in parsed.inspected);
  const judgement: AspectJudgement = {
    findings,
    affirmed: own.affirmed && copies.length === 0,
    references: own.references,
    source: 'host',
    // All of it must be shown again, and what the kernel measured by its list.
    takesBack: !isWhole ? { only: [] } : isListed ? { allBut: [] } : { allBut: ['tpm'] },
    ...(isInspected && { next: { volumes: volumeMarks(parsed) } satisfies DiskMemory }),
    ...(shown !== null && { openKeys: shown }),
    // What is measured later would be missed, and what was measured would not count any more.
    ...(tables.size > 0 && { wants: ['ima'] as const }),
  };
  return withLease(judgement, lease.value);
}

/** One for each group of nodes: nodes with the same key usually have the same UUID. */
function sharedFindings(volumes: readonly SharedVolume[]): readonly Finding[] {
  const byNodes = new Map<string, { readonly kind: string; readonly nodes: readonly string[] }>();
  for (const { mark, nodes } of volumes) {
    const kind = mark.startsWith('key:') ? 'key' : 'uuid';
    if (kind === 'key' || !byNodes.has(nodes.join())) byNodes.set(nodes.join(), { kind, nodes });
  }
  return [...byNodes.values()].slice(0, 4).map(({ kind, nodes }) => sharedKey(kind, nodes, 'server'));
}

function parsedPart(bytes: Buffer): DiskPart | { readonly fault: string } {
  try {
    return parseDiskPart(bytes);
  } catch (error) {
    if (error instanceof Rejection) return { fault: error.message };
    throw error;
  }
}

function unread(findings: readonly Finding[]): AspectJudgement {
  return findings.length === 0 ? nothingSaid : { findings, affirmed: false, source: 'host' };
}

const nothingSaid: AspectJudgement = { findings: [], affirmed: false, source: 'host' };

/** A collector that failed is found for all aspects at once. */
function isSaidUnread({ unread: said }: JudgedNode): boolean {
  return said.some(({ name }) => name === 'disk');
}

function sharedText(volumes: readonly SharedVolume[]): string {
  return volumes.map(({ mark, nodes }) => `${mark} ${nodes.join(',')}`).join('\n');
}
