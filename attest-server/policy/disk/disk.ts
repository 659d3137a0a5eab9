import { LRUCache } from 'lru-cache';
import { type DiskPart, parseDiskPart } from '../../protocol/disk.ts';
import { Rejection } from '../../protocol/rejection.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Aspect, JudgedNode, Judgement, SharedVolume } from '../aspect.ts';
import { spanAround } from '../expiry-span.ts';
import type { Finding } from '../finding.ts';
import { advice } from './advice.ts';
import { captureDisk } from './capture.ts';
import { contradictionsIn, doubtsIn } from './doubts.ts';
import { draftDisk, observeDisk } from './draft.ts';
import { type EnrolledReferences, enrolledOf, enrolledReferences } from './enrolled.ts';
import { noPart, sharedKey, unreadPart } from './findings.ts';
import { type DiskJudgement, judgeDisk } from './judge-disk.ts';
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
    const ready = { rules, enrolled: enrolledReferences(group.name, rules, references) };
    const remembered = new LRUCache<string, Remembered>({ max: mostRemembered });
    // Where IMA's list is of those whose mappings it vouches for: all that it says of them is in each proof.
    const heads = new LRUCache<string, string>({ max: mostRemembered });
    return {
      judgedTo: (node) => heads.get(node) ?? null,
      judge(proven, node, at) {
        const part = proven.parts.disk;
        if (part === undefined) return unread(isRequired && !isSaidUnread(node) ? [noPart] : []);
        const known = remembers ? (remembered.get(node.name) ?? null) : null;
        const tables = measuredTables(proven.ima);
        if (tables.size > 0 && proven.ima !== null && 'head' in proven.ima)
          heads.set(node.name, proven.ima.head);
        else heads.delete(node.name);
        const shown = { digest: part.digest, measured: measuredText(tables) };
        const now = isStill(known, shown, node, at) ? known : judgeAnew(proven, tables, node, ready, at);
        if (now === null) return unread([unreadPart('it was only named, and nobody has it')]);
        if (remembers) remembered.set(node.name, now);
        return now.judgement;
      },
    };
  },
};

/** Nodes whose judgement is remembered, by group. */
const mostRemembered = 8192;

interface Ready {
  readonly rules: DiskRules;
  readonly enrolled: EnrolledReferences;
}

/** One node's latest judgement, under all that it was made from. */
interface Remembered {
  /** Of its part. */
  readonly digest: string;
  /** What the kernel measured, as text. */
  readonly measured: string;
  readonly shared: string;
  /** Milliseconds since the epoch: no reference expires from `from` until before `until`. */
  readonly from: number;
  readonly until: number;
  readonly judgement: Judgement;
}

function isStill(
  known: Remembered | null,
  shown: Pick<Remembered, 'digest' | 'measured'>,
  node: JudgedNode,
  at: number,
): known is Remembered {
  return (
    known !== null &&
    known.digest === shown.digest &&
    known.measured === shown.measured &&
    at >= known.from &&
    at < known.until &&
    known.shared === sharedText(node.sharedVolumes)
  );
}

function judgeAnew(
  { parts, ima }: Proven,
  tables: MeasuredTables,
  node: JudgedNode,
  { rules, enrolled }: Ready,
  at: number,
): Remembered | null {
  const { digest, bytes } = parts.disk ?? { digest: '', bytes: null };
  if (bytes === null) return null;
  const parsed = parsedPart(bytes);
  const own: DiskJudgement =
    'fault' in parsed
      ? { findings: [unreadPart(parsed.fault)], affirmed: false, references: [] }
      : judgeDisk(parsed, rules, enrolledOf(node.name, enrolled, rules, at), tables);
  const shared = sharedFindings(node.sharedVolumes);
  const evidence = { digest, position: 'part' };
  const findings = [...shared, ...own.findings].map((finding) => ({ ...finding, evidence }));
  const isListed = ima !== null && 'head' in ima;
  const isWhole = !findings.some(({ code }) => code === 'facts_unavailable');
  const isInspected = !('fault' in parsed) && !('cause' in parsed.inspected);
  const [from, until] = spanAround(
    enrolled.active.map(({ expires }) => expires),
    at,
  );
  return {
    digest,
    measured: measuredText(tables),
    shared: sharedText(node.sharedVolumes),
    from,
    until,
    judgement: {
      findings,
      affirmed: own.affirmed && shared.length === 0,
      references: own.references,
      source: 'host',
      // All of it must be shown again, and what the kernel measured by its list.
      takesBack: !isWhole ? { only: [] } : isListed ? { allBut: [] } : { allBut: ['tpm'] },
      ...(isInspected && { next: { volumes: volumeMarks(parsed) } satisfies DiskMemory }),
      // What is measured later would be missed, and what was measured would not count any more.
      ...(tables.size > 0 && { wants: ['ima'] as const }),
    },
  };
}

/** One for each group of nodes: who has the same key has, as a rule, the same UUID. */
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

function unread(findings: readonly Finding[]): Judgement {
  return findings.length === 0 ? nothingSaid : { findings, affirmed: false, source: 'host' };
}

const nothingSaid: Judgement = { findings: [], affirmed: false, source: 'host' };

/** That the collector failed is found for all aspects at once. */
function isSaidUnread({ unread: said }: JudgedNode): boolean {
  return said.some(({ name }) => name === 'disk');
}

function sharedText(volumes: readonly SharedVolume[]): string {
  return volumes.map(({ mark, nodes }) => `${mark} ${nodes.join(',')}`).join('\n');
}
