import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { table } from '../../attest-server/cli/table.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../../attest-server/wire/messages.ts';
import { printable } from '../../attest-server/wire/printable.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import { type MachinePcrs, type TriedBoot, tryBootLog } from './boot-log.ts';

/** One log; of one that cannot be read only why. */
export interface TriedLog extends Partial<TriedBoot> {
  readonly log: string;
  readonly unreadable: string | null;
}

/** Beside a log: what tpm2_pcrread printed on its machine. */
const valuesEnding = '.pcrs';

/**
 * Tries one log, or every file of a folder.
 * @throws where there is none
 */
export async function tryBootLogs(path: string): Promise<readonly TriedLog[]> {
  const isFolder = (await stat(path)).isDirectory();
  const folder = isFolder ? path : dirname(path);
  const entries = isFolder ? await readdir(path, { withFileTypes: true }) : [];
  const names = isFolder
    ? entries.filter((entry) => entry.isFile() && !entry.name.endsWith(valuesEnding)).map(({ name }) => name)
    : [basename(path)];
  if (names.length === 0) throw new Error(`${path} holds no file`);
  return Promise.all(names.sort().map((name) => tried(folder, name)));
}

/** A line for each log. */
export function bootTable(logs: readonly TriedLog[]): string {
  const rows = logs.map((one) => [
    printable(one.log),
    (one.banks ?? []).join('+') || '-',
    String(one.events ?? '-'),
    replays(one),
    codesOf(one.problems),
    codesOf(one.notes),
    one.state ?? '-',
    printable(
      one.unreadable ?? one.refused ?? codesOf(one.reasons?.filter(({ severity }) => severity !== 'info')),
    ),
  ]);
  return table(['LOG', 'BANKS', 'EVENTS', 'REPLAYS', 'PROBLEMS', 'NOTES', 'SAME BOOT', 'WHY'], rows);
}

/**
 * What `tpm2_pcrread` prints: a bank's name, and below it `NUMBER : 0xVALUE`.
 * @throws where a value has not the length of its bank
 */
export function parsePcrRead(text: string): MachinePcrs {
  const banks: Partial<Record<PcrBank, Record<number, string>>> = {};
  let bank: PcrBank | undefined;
  for (const line of text.split('\n')) {
    const name = /^\s*(\w+):\s*$/.exec(line)?.[1];
    if (name !== undefined) bank = pcrBanks.find((one) => one === name);
    const [, pcr, value] = /^\s*(\d{1,2})\s*:\s*0x([0-9a-f]+)\s*$/i.exec(line) ?? [];
    if (bank === undefined || pcr === undefined || value === undefined) continue;
    if (value.length !== 2 * bankBytes[bank])
      throw new Error(`PCR ${pcr} of ${bank} has ${value.length} digits, and not ${2 * bankBytes[bank]}`);
    banks[bank] = { ...banks[bank], [Number(pcr)]: value.toLowerCase() };
  }
  return banks;
}

async function tried(folder: string, log: string): Promise<TriedLog> {
  const values = await valuesIn(join(folder, `${log}${valuesEnding}`));
  try {
    const boot = tryBootLog(await readFile(join(folder, log)), values);
    return { log, unreadable: null, ...boot };
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    return { log, unreadable: `${cause.code}: ${cause.message}` };
  }
}

/** @throws where a value has not the length of its bank */
async function valuesIn(file: string): Promise<MachinePcrs> {
  const text = await readFile(file, 'utf8').catch(noValues);
  try {
    return parsePcrRead(text);
  } catch (cause) {
    throw new Error(`${file}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** Most logs have none beside them. */
function noValues(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
  throw error;
}

function replays({ unexplained }: TriedLog): string {
  if (unexplained === undefined) return '-';
  if (unexplained === null) return 'no values';
  return unexplained.length === 0 ? 'yes' : `not PCR ${unexplained.join(', ')}`;
}

function codesOf(found: readonly { readonly code: string }[] | undefined): string {
  return [...new Set((found ?? []).map(({ code }) => code))].join(', ') || '-';
}
