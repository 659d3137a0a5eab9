import type { Logger } from 'pino';
import type { HostFacts } from '../attest-server/protocol/facts.ts';
import { limits } from '../attest-server/protocol/limits.ts';
import { AgentError } from './agent-error.ts';
import { bootLogPath, bootLogReader } from './collectors/boot-log.ts';
import { readBootId, readHostFacts } from './collectors/host.ts';
import { readUserSpaceLog, userSpaceLogPath } from './collectors/user-space-log.ts';
import type { Situation } from './evidence.ts';

export type ReadNode = () => Promise<Pick<Situation, 'bootId' | 'host' | 'bootLog' | 'readUserSpaceLog'>>;

/** An answer does not wait longer for what the machine says of itself; the next one has it. */
const hostWithinMs = 250;

/**
 * Asks every collector; begins at once, so that the first answer finds it done.
 * The reader throws AgentError `facts_unavailable`.
 */
export function nodeReader(sysroot: string, logger: Logger): ReadNode {
  const readLog = bootLogReader(sysroot, limits.bootLog);
  const host = hostOf(sysroot, logger);
  let toldMissing = '';
  const read = async () => {
    try {
      const bootId = await readBootId(sysroot);
      const bootLog = await readLog(bootId);
      if (bootLog === null && toldMissing !== bootId) {
        toldMissing = bootId;
        logger.warn(
          { code: 'no_boot_log', path: bootLogPath },
          'the firmware left no log; is securityfs mounted?',
        );
      }
      return { bootId, bootLog };
    } catch (cause) {
      throw new AgentError('facts_unavailable', cause instanceof Error ? cause.message : String(cause), {
        retryable: true,
        cause,
      });
    }
  };
  // Only to warm up: the first answer meets the same fault and reports it.
  read().catch(() => undefined);
  const readUserSpace = userSpaceLogOf(sysroot, logger);
  return async () => ({
    ...(await read()),
    host: await within(host, hostWithinMs),
    readUserSpaceLog: readUserSpace,
  });
}

/** Without this log PCR 11 and 15 are not vouched for, and the answer is as good as that of an older system. */
function userSpaceLogOf(sysroot: string, logger: Logger): () => Promise<Buffer | null> {
  let told = false;
  return () =>
    readUserSpaceLog(sysroot, limits.userspaceLog).catch((error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      if (!told)
        logger.warn({ path: userSpaceLogPath, text }, "systemd's log of its measurements is left out");
      told = true;
      return null;
    });
}

function hostOf(sysroot: string, logger: Logger): Promise<HostFacts | null> {
  return readHostFacts(sysroot).catch((error: unknown) => {
    const text = error instanceof Error ? error.message : String(error);
    logger.warn({ code: 'facts_unavailable', text }, 'the machine does not say what it is');
    return null;
  });
}

async function within<T>(work: Promise<T>, milliseconds: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, milliseconds, null);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
