import { statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { parseBundle } from '../../../formats/bundle.ts';
import { asTheLogSays } from '../../../verify/boot/derive-boot-state.ts';
import { verifyBundleEvidence } from '../../../verify/bundle-evidence.ts';
import { hashPart } from '../../../verify/hashed-part.ts';
import { type ReplayedBoot, replayBoot } from '../../../verify/measured-boot.ts';
import { type ParsedLog, parseEventLog } from '../../../verify/tpm/event-log.ts';
import { bankBytes, type PcrBank } from '../../../wire/messages.ts';
import type { PcrValues } from '../../../wire/pcr-values.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { Client } from '../../client.ts';
import { evidenceDigest } from '../../evidence-digest.ts';
import { CliError, exit } from '../../exit.ts';
import { readFile } from '../../read-file.ts';
import { shownDigits } from '../../readable.ts';
import { eventLogFault } from './eventlog.ts';

/** One of two boots that are compared. */
export interface BootSide {
  /** How a person calls it. */
  readonly label: string;
  /** Quoted, or of a log alone what it leads to. */
  readonly banks: readonly PcrValues[];
  readonly boot: ReplayedBoot;
}

/**
 * A boot by the name that was given for it: a firmware log or an exported bundle, where there is such a file, else
 * a node at the server, `NODE` or `NODE@DIGEST` for earlier evidence.
 * @throws CliError
 */
export async function readBootSide(
  given: string,
  cwd: string,
  server: () => Promise<Client>,
): Promise<BootSide> {
  if (isFile(given, cwd)) return sideOfFile(given, readFile(resolve(cwd, given)));
  const [node = '', digest] = given.split('@');
  return readNodeSide(await server(), node, digest === undefined ? null : evidenceDigest(node, digest));
}

export function isFile(given: string, cwd: string): boolean {
  return given.includes('/') || statSync(resolve(cwd, given), { throwIfNoEntry: false }) !== undefined;
}

/** The latest boot of a node, or that of earlier evidence. @throws CliError */
export async function readNodeSide(server: Client, node: string, digest: string | null): Promise<BootSide> {
  const which = digest === null ? '' : `?evidence=${digest}`;
  const label = digest === null ? node : `${node}@${digest.slice(0, shownDigits)}`;
  return sideOfBundle(label, await server.text(`/v1/nodes/${encodeURIComponent(node)}/bundle${which}`));
}

function sideOfFile(file: string, bytes: Buffer): BootSide {
  // No firmware log begins so: its first event is of PCR 0.
  if (/^\s*\{/.test(bytes.toString('latin1', 0, 64)))
    return sideOfBundle(basename(file), bytes.toString('utf8'));
  try {
    const banks = banksOf(parseEventLog(bytes));
    const boot = replayBoot(hashPart(bytes), banks);
    return { label: nameOf(file), banks, boot };
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(
      eventLogFault(file, cause).trimEnd(),
      'Name a firmware log or an exported bundle.',
      exit.error,
    );
  }
}

function sideOfBundle(label: string, text: string): BootSide {
  try {
    const { banks, boot } = verifyBundleEvidence(parseBundle(text), null);
    if (boot !== null) return { label, banks, boot };
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(
      `the evidence of ${label} is rejected: ${cause.code}: ${cause.message}`,
      'Export it again:\n  assay bundle NODE -f NODE.json',
      exit.error,
      cause,
    );
  }
  throw new CliError(
    `the evidence of ${label} has no boot log`,
    'Only its PCR values are known. Have them judged:\n  assay verify BUNDLE',
  );
}

/** Logs are often all called alike: then the folder says which. */
function nameOf(file: string): string {
  const parts = file.split('/').filter((part) => part !== '' && part !== '.' && part !== '..');
  return parts.slice(-2).join('/');
}

/** The PCRs that a machine would quote that booted as the log says. */
function banksOf(log: ParsedLog): readonly PcrValues[] {
  return asTheLogSays(log).banks.flatMap((bank) =>
    // No machine quotes it: see the note on SM3 in docs/boot-facts.md.
    bank === 'sm3_256' ? [] : [{ bank, mask: 0xffffff, values: valuesOf(log, bank) }],
  );
}

function valuesOf({ banks }: ParsedLog, bank: PcrBank): Buffer {
  const values = Buffer.alloc(24 * bankBytes[bank]);
  for (const [pcr, value] of Object.entries(banks[bank] ?? {}))
    if (Number(pcr) < 24) values.write(value, Number(pcr) * bankBytes[bank], 'hex');
  return values;
}
