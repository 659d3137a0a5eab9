import type { DiskPart } from '../../wire/disk.ts';
import { isPlainPath, type Mount, mountFinder } from '../../wire/mount-table.ts';
import { comesWithContainers, isBelow, type MountsAround, volumeKind } from '../../wire/protected-mounts.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { Finding } from '../finding.ts';
import { cryptFindings, type EnrolledVolumes } from './crypt-findings.ts';
import {
  keyLeft,
  missingPath,
  noPathAtAll,
  noReference,
  notAsked,
  notCovered,
  notEncrypted,
  notInspected,
  notShown,
  sharedKey,
  swapOpen,
  unreadPart,
  volumeNotEncrypted,
  volumesReported,
} from './findings.ts';
import { type Crypt, drawn, type Layer, Layers } from './layers.ts';
import type { MeasuredTables } from './measured-tables.ts';
import { marksOf } from './memory.ts';
import { parseMounts } from './mounts.ts';
import type { DiskRules } from './rules.ts';

export interface DiskJudgement {
  /** The cause first. */
  readonly findings: readonly Finding[];
  /** Some path is there, all of each is encrypted as the rules say, and everything that they need was shown. */
  readonly affirmed: boolean;
  /** Names of the references that know its volumes. */
  readonly references: readonly string[];
}

/**
 * Judges what a part shows; whatever it holds gives findings.
 * @param enrolled what references know of this node's volumes
 * @param measured what the TPM vouches for of its mappings
 */
export function judgeDisk(
  part: DiskPart,
  rules: DiskRules,
  enrolled: EnrolledVolumes,
  measured: MeasuredTables,
): DiskJudgement {
  try {
    return judgeTable(part, parseMounts(part.mounts), rules, enrolled, measured);
  } catch (error) {
    if (error instanceof Rejection)
      return { findings: [unreadPart(error.message)], affirmed: false, references: [] };
    throw error;
  }
}

function judgeTable(
  part: DiskPart,
  table: readonly Mount[],
  rules: DiskRules,
  enrolled: EnrolledVolumes,
  measured: MeasuredTables,
): DiskJudgement {
  const find = mountFinder(table);
  const layers = new Layers(part, find, measured);
  const findings: Finding[] = 'cause' in part.inspected ? [notInspected(part.inspected.cause)] : [];
  const crypts = new Map<Crypt, Seen>();
  const openVolumes = new Set<string>();
  let there = 0;
  const before = findings.length;
  const looked = rules.paths.map((wanted) => {
    const said = part.paths.find(({ path }) => path === wanted.path);
    if (said === undefined) findings.push(notAsked(wanted.path));
    else if (said.real === null && wanted.required) findings.push(missingPath(wanted.path));
    return { ...wanted, real: said?.real ?? null };
  });
  const reals = looked.flatMap(({ path, real }) => {
    if (real === null) return [];
    there += 1;
    const bytes = Buffer.from(real).toString('latin1');
    if (isPlainPath(bytes)) return [{ path, real: bytes }];
    findings.push(notShown(path, `${real} is no path`, []));
    return [];
  });
  const standing = new Set(reals.map(({ real }) => find(real)).filter((mount) => mount !== null));
  const around: MountsAround = { find, standing, byId: new Map(table.map((mount) => [mount.id, mount])) };
  for (const { path, real } of reals) {
    const mount = find(real);
    if (mount === null) {
      findings.push(notShown(path, 'the mount table has no root', []));
      continue;
    }
    const layer = layers.ofMount(mount);
    const link = path === real ? [] : [`${path} -> ${real}`];
    const above = mount.mountPoint === real ? [] : [real];
    const detail = [...(link.length > 0 ? link : above), ...drawn(layer, mostDrawn)];
    const hidden = table.filter((one) => one.mountPoint === real && one !== mount);
    const isHidden = hidden.some((one) => layers.ofMount(one).coverage === 'encrypted');
    note(layer, crypts, path, detail);
    findings.push(...coverFindings(path, mount, layer, isHidden, detail));
    let submounts = 0;
    for (const below of table) {
      if (!isVisibleBelow(below, real, find) || comesWithContainers(below, real, around)) continue;
      const its = layers.ofMount(below);
      const volume = volumeKind(below, real, around);
      if (volume !== null && rules.volumes === 'report') {
        if (its.coverage !== 'encrypted') openVolumes.add(volume);
        continue;
      }
      const lines = [...detail, ...drawn(its, mostDrawn)];
      if (volume === null) note(its, crypts, path, lines);
      if (its.coverage === 'encrypted' || submounts >= mostSubmounts) continue;
      submounts += 1;
      const open =
        volume === null ? notCovered(path, below, lines) : volumeNotEncrypted(below, volume, lines);
      findings.push(
        its.coverage === 'unknown'
          ? notShown(below.mountPoint, its.cause ?? 'nothing is said of it', lines)
          : { ...open, source: its.source },
      );
    }
  }
  if (there === 0 && findings.length === before) findings.push(noPathAtAll(rules));
  const references = new Set<string>();
  const isUnknown = enrolled.isDemanded && enrolled.volumes.length === 0;
  if (isUnknown) findings.push(noReference(rules.references ?? []));
  findings.push(...copiesIn([...crypts.keys()].slice(0, mostCompared), layers));
  for (const [crypt, { paths, detail }] of crypts) {
    // Attack: another volume, which encrypts as well, is mounted where the one belongs whose key is leased.
    const ofPaths = enrolled.volumes.filter(({ path }) => path !== undefined && paths.has(path));
    const its = ofPaths.length > 0 ? { ...enrolled, isDemanded: true, volumes: ofPaths } : enrolled;
    const judged = cryptFindings(crypt, rules, isUnknown ? { ...its, isDemanded: false } : its, detail);
    findings.push(...judged.findings);
    if (judged.reference !== null) references.add(judged.reference);
  }
  findings.push(...swapAndKeyFindings(part, rules, layers));
  if (openVolumes.size > 0) findings.push(volumesReported([...openVolumes].sort()));
  return {
    findings: findings.slice(0, mostFindings),
    affirmed: there > 0 && findings.every(({ severity }) => severity === 'warn' || severity === 'info'),
    references: [...references],
  };
}

const mostDrawn = 24;
/** Open volumes that are compared with all headers of the node. */
const mostCompared = 16;
const mostSubmounts = 8;
const mostFindings = 64;

/** Attack: what was mounted where something lies over it now is not seen at the path, and covers nothing. */
function isVisibleBelow(mount: Mount, real: string, find: (path: string) => Mount | null): boolean {
  if (!isBelow(mount.mountPoint, real)) return false;
  // A folder that was removed under its mount is called `//deleted`: it may be seen by who stands in it.
  return !isPlainPath(mount.mountPoint) || find(mount.mountPoint) === mount;
}

/** The protected paths that a mapping encrypts, and how it was drawn for the first of them. */
interface Seen {
  readonly paths: Set<string>;
  readonly detail: readonly string[];
}

function note(
  { crypts: found }: Layer,
  crypts: Map<Crypt, Seen>,
  path: string,
  detail: readonly string[],
): void {
  for (const crypt of found) {
    const seen = crypts.get(crypt);
    if (seen === undefined) crypts.set(crypt, { paths: new Set([path]), detail });
    else seen.paths.add(path);
  }
}

function coverFindings(
  path: string,
  mount: Mount,
  layer: Layer,
  isHidden: boolean,
  detail: readonly string[],
): readonly Finding[] {
  if (layer.coverage === 'encrypted') return [];
  if (layer.coverage === 'unknown') return [notShown(path, layer.cause ?? 'nothing is said of it', detail)];
  // Told of the mapping itself: luks_null_cipher.
  if (layer.coverage === 'null') return [];
  const isMixed = layer.below.some(({ coverage }) => coverage === 'encrypted');
  const finding =
    isHidden || isMixed ? notCovered(path, mount, detail) : notEncrypted(path, layer.text, detail);
  return [{ ...finding, source: layer.source }];
}

/** Volumes of one node, of which one is a copy of the other. */
function copiesIn(crypts: readonly Crypt[], layers: Layers): readonly Finding[] {
  for (const crypt of crypts) {
    const marks = new Set(crypt.header === null ? [] : marksOf(crypt.header));
    for (const other of marks.size === 0 ? [] : layers.headersBeside(crypt)) {
      const mark = marksOf(other).findLast((one) => marks.has(one));
      if (mark !== undefined)
        return [sharedKey(mark.startsWith('key:') ? 'key' : 'uuid', [crypt.name, other.device], 'host')];
    }
  }
  return [];
}

/** Where memory goes to, and what is left of keys. */
function swapAndKeyFindings(part: DiskPart, rules: DiskRules, layers: Layers): readonly Finding[] {
  const { inspected } = part;
  if ('cause' in inspected) return [];
  const findings: Finding[] = [];
  for (const { path, device } of rules.swap === 'any' ? [] : inspected.swaps) {
    // Pages in zram stay in memory.
    if (device !== null && /^zram\d+$/.test(part.devices.find((one) => one.device === device)?.name ?? ''))
      continue;
    const layer = device === null ? null : layers.ofDevice(device);
    if (layer?.coverage === 'encrypted') continue;
    const detail = layer === null ? [path] : [path, ...drawn(layer, mostDrawn)];
    findings.push(
      layer?.coverage === 'unknown' || layer === null
        ? notShown(path, layer?.cause ?? 'nothing is said of its device', detail)
        : { ...swapOpen(path, detail), source: layer.source },
    );
  }
  const [first, ...others] = inspected.residue;
  if (first !== undefined) findings.push(keyLeft([first, ...others]));
  return findings.slice(0, 8);
}
