import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openTpm, type Tpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { capDigest, capPcr } from '../../attest-server/wire/cap.ts';
import { AgentError } from '../agent-error.ts';
import { describeFault } from '../describe-fault.ts';
import { readIdentity } from '../identity.ts';
import { type DiskTools, diskTools } from '../inspect/disk.ts';
import type { Logger } from '../logger.ts';
import { noState } from '../state-dir.ts';
import type { UnlockConfig } from './config.ts';
import { LeaseConversation } from './lease-conversation.ts';
import { lookAtVolumes } from './opened-volume.ts';

export interface CapDependencies {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Prints on the console. */
  readonly print: (line: string) => void;
  /** In which systemd names the socket at which it waits. */
  readonly environment: NodeJS.ProcessEnv;
  /** The access to devices; a test puts its own in place. */
  readonly tools?: DiskTools & { close(mapping: string): Promise<void> };
}

/** How long it tries to tell a server, in milliseconds: the boot does not wait for it, and the next quote tells it, too. */
const toldWithin = 60_000;

/** Of its two programs the one says whether it got a key, and the other what it did with it. */
const shutSteps = [
  "  See why: journalctl --boot --unit 'systemd-cryptsetup@*' --unit 'assay-unlock@*'",
  '  Open it with its recovery passphrase (cryptsetup open), or reboot: the next boot gets a key again.',
];

export const capTools: NonNullable<CapDependencies['tools']> = {
  ...diskTools,
  close: async (mapping) =>
    void (await run('cryptsetup', ['close', '--', mapping], { timeoutMs: 10_000, maxOutputBytes: 65_536 })),
};

/**
 * Ends the right of this boot to disk keys, once the disks are open: PCR 15 is extended by a known constant in each bank. Then
 * each volume is looked at again; one that is not what the server knows is closed, and stays so. The boot goes on before the
 * server is told.
 * @returns the exit code: 1 if a volume was closed, or could not be looked at
 * @throws AgentError `cap` where a bank cannot be capped; ToolError; where crypttab or the volumes cannot be read
 */
export async function runCap(config: UnlockConfig, dependencies: CapDependencies): Promise<number> {
  const { logger, print, signal, environment, tools = capTools } = dependencies;
  const opened: LeasedVolume[] = [];
  let faults = 0;
  const report = (about: string, why: string) => {
    faults += 1;
    print(`assay-cap: ${about}: ${why}\n`);
    logger.error({ code: 'luks_header', text: why }, about);
  };
  await using tpm = await openTpm({ tcti: config.tcti, signal });
  // First: whatever hangs or fails below, the boot has no right to a key any more.
  await cap(tpm, config.capDir, logger);
  print('assay-cap: this boot is capped: no key is given to it any more\n');
  for (const found of await lookAtVolumes(config, tools)) {
    const { mapping } = found;
    if (found.is === 'wrong') {
      report(`volume ${mapping} is not what it must be, and is closed`, found.why);
      await tools
        .close(mapping)
        .catch((error: unknown) => report(`volume ${mapping} cannot be closed`, describeFault(error).text));
    } else if (found.is === 'shut') {
      const text = `volume ${mapping} is not open, and this boot gets no key of it any more`;
      for (const line of [text, ...shutSteps]) print(`assay-cap: ${line}\n`);
      logger.warn({ code: 'not_opened' }, text);
    } else if (found.note !== null)
      opened.push({ leaseId: found.note.leaseId, headerDigest: found.headerDigest });
    else {
      // Its header may be another one than the server knows. That it shows in the next answer of the agent, by its digest.
      const text = `volume ${mapping} is open without a lease: by its recovery passphrase, or its note was removed`;
      print(`assay-cap: ${text}\n`);
      logger.warn({ code: 'opened_without_lease', header: found.headerDigest }, text);
    }
  }
  if (faults === 0) await letBootGoOn(environment);
  await tell(config, tpm, opened, dependencies).catch((error: unknown) =>
    logger.warn(describeFault(error), 'no server was told; the next answer of the agent shows it'),
  );
  return faults === 0 ? 0 : 1;
}

/** As the unit's `Type=notify` wants it. @throws ToolError */
async function letBootGoOn({ NOTIFY_SOCKET }: NodeJS.ProcessEnv): Promise<void> {
  if (NOTIFY_SOCKET === undefined) return;
  await run('systemd-notify', ['--ready'], {
    timeoutMs: 10_000,
    maxOutputBytes: 65_536,
    env: { NOTIFY_SOCKET },
  });
}

interface LeasedVolume {
  readonly leaseId: string;
  readonly headerDigest: string;
}

/** Extends each bank once a boot, and reads back: a bank that is not allocated takes an extension and does nothing. */
async function cap(tpm: Tpm, folder: string, logger: Logger): Promise<void> {
  const { banks } = await tpm.readCapabilities();
  const selection = Object.fromEntries(banks.map((bank) => [bank, [capPcr]] as const));
  const read = async () => {
    const values = await tpm.readPcrs(selection);
    return Object.fromEntries(banks.map((bank) => [bank, values[bank]?.toString('hex') ?? ''] as const));
  };
  const before = await read();
  const kept = join(folder, 'capped.json');
  const capped = await readFile(kept, 'utf8').catch(() => null);
  if (capped === JSON.stringify(before)) {
    logger.info({ code: 'capped' }, 'this boot was capped before');
    return;
  }
  await tpm.extend(capPcr, Object.fromEntries(banks.map((bank) => [bank, capDigest(bank)] as const)));
  const after = await read();
  // Others may extend it between the two readings: that it moved is what counts.
  for (const bank of banks)
    if (after[bank] === before[bank])
      throw new AgentError('cap', `PCR ${capPcr} of bank ${bank} did not move: this TPM cannot be capped`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(kept, JSON.stringify(after), { mode: 0o600 });
}

/** @throws AgentError, ToolError if none of the servers takes it in time */
async function tell(
  config: UnlockConfig,
  tpm: Tpm,
  opened: readonly LeasedVolume[],
  { logger, signal }: CapDependencies,
): Promise<void> {
  if (opened.length === 0) return;
  const within = AbortSignal.any([signal, AbortSignal.timeout(toldWithin)]);
  const identity = await readIdentity(tpm);
  let last: unknown;
  for (const server of config.servers)
    try {
      const parts = { config, volume: null, tpm, identity, state: noState, logger, signal: within };
      await using conversation = await LeaseConversation.open(server, parts);
      await conversation.proven;
      for (const volume of opened) await conversation.report({ type: 'unlocked', ...volume });
      return;
    } catch (error) {
      last = error;
      if (within.aborted) break;
    }
  throw last;
}
