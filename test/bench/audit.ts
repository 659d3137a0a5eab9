import { execFile } from 'node:child_process';
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chainEntry } from '../../attest-server/audit/chain.ts';
import { type AuditEvent, genesis } from '../../attest-server/formats/audit.ts';
import { formatCheckpoint } from '../../attest-server/wire/checkpoint.ts';
import { madeAuditKey, madeOrigin } from '../attest-server/formats/made-audit-key.ts';
import { inFolder } from './attestation.ts';
import { sized } from './sized.ts';

/** `assay audit verify FILE` in a process of its own. */
export interface AuditFigures {
  readonly entries: number;
  readonly file_mb: number;
  readonly seconds: number;
  /** User and system, of all its threads. */
  readonly cpu_seconds: number;
  readonly rss_mb: number;
}

const few = sized(500_000, 1_000);
const many = 10_000_000;
/** Of a fleet of some thousands of nodes in a minute. */
const entriesOfCheckpoint = 100;

export async function benchAudit(full: boolean): Promise<AuditFigures> {
  return await inFolder(async (folder) => {
    const entries = full ? many : few;
    const path = join(folder, 'export');
    writeExport(path, entries);
    const started = performance.now();
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--input-type=module',
      '--eval',
      program,
      join(import.meta.dirname, '../../attest-server/cli/program.ts'),
      path,
    ]);
    const seconds = (performance.now() - started) / 1000;
    const { code, cpu, rss } = JSON.parse(stdout.split('\n').at(-2) ?? '');
    if (code !== 0) throw new Error(stdout);
    return {
      entries,
      file_mb: Math.round(statSync(path).size / 1e6),
      seconds: Math.round(seconds * 10) / 10,
      cpu_seconds: Math.round(cpu * 10) / 10,
      rss_mb: Math.round(rss / 1e6),
    };
  });
}

const program = `
const [program, path] = process.argv.slice(1);
const { runCli } = await import(program);
const write = (text) => process.stdout.write(text);
const io = { out: write, err: () => {}, env: {}, cwd: '/', colour: false, columns: null, now: Date.now };
const code = await runCli(['audit', 'verify', path, '-o', 'json'], io);
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
write(JSON.stringify({ code, cpu: (userCPUTime + systemCPUTime) / 1e6, rss: maxRSS * 1024 }) + '\\n');
`;

/** As `assay audit export` writes it. */
function writeExport(path: string, entries: number): void {
  const key = madeAuditKey();
  const file = openSync(path, 'w');
  const publicKey = key.publicKey.toString('base64');
  let lines = [JSON.stringify({ origin: madeOrigin, keys: [{ publicKey, signature: null }] })];
  let head = genesis;
  for (let seq = 1; seq <= entries; seq += 1) {
    const entry = chainEntry(head, seq, eventOf(seq));
    head = entry.hash;
    lines.push(JSON.stringify({ entry }));
    if (seq % entriesOfCheckpoint !== 0 && seq !== entries) continue;
    lines.push(
      JSON.stringify({ checkpoint: formatCheckpoint({ origin: madeOrigin, size: seq, head }, key) }),
    );
    writeSync(file, `${lines.join('\n')}\n`);
    lines = [];
  }
  closeSync(file);
}

/** What a fleet at rest writes: one summary of a node an hour. */
function eventOf(seq: number): AuditEvent {
  const at = 1_764_000_000_000 + seq * 50;
  const detail = {
    state: 'trusted',
    policy: 'strict@0123456789ab',
    evidence: seq.toString(16).padStart(64, 'a'),
    count: 60,
    since: at - 3_600_000,
  };
  return {
    at,
    actor: 'server',
    action: 'verdict.repeat',
    subject: `node-${seq % 5_000}`,
    code: null,
    detail,
  };
}
