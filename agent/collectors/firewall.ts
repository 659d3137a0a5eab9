import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { askForRules } from '../netfilter/client.ts';
import { NetfilterFault } from '../netfilter/netfilter-fault.ts';
import type { RuleReader } from '../netfilter/rule-reader.ts';
import { type PartCollector, Unavailable } from './collector.ts';
import { readBounded } from './read-bounded.ts';

/** Below a root that is not `/`: what another machine's rules were, as a part. The kernel has those of this one alone. */
export const recordedRulesPath = 'run/assay/netfilter/rules.json';

/**
 * The rules of the firewall in the host's network namespace.
 * @param socket of `assay-agent netfilter`; null: this process reads them itself, where it has the right
 */
export function firewall(socket: string | null): PartCollector {
  let inside: Promise<RuleReader> | null = null;
  return {
    name: 'firewall',
    part: 'firewall',
    // Some thousands of rules take a second, and several who ask wait for one another.
    within: 10_000,
    async read(sysroot, signal, { local: takesLocal = false } = {}) {
      try {
        if (socket !== null) return checked(await askForRules(socket, signal), takesLocal);
        if (sysroot === '/') {
          inside ??= readerOfOwn();
          const { bytes } = await (await inside).read(signal);
          return takesLocal ? bytes : checked(bytes, takesLocal);
        }
        return (await recorded(sysroot, signal, takesLocal)) ?? notHere;
      } catch (error) {
        if (error instanceof NetfilterFault) return new Unavailable(`${error.code}: ${error.message}`);
        throw error;
      }
    },
  };
}

/** A reader of rules, loaded only if nobody else reads them: 0.3 MiB, held for as long as the node runs. */
async function readerOfOwn(): Promise<RuleReader> {
  const { RuleReader } = await import('../netfilter/rule-reader.ts');
  return new RuleReader({ netns: null });
}

const notHere = new Unavailable(
  'the setting netfilter names no socket, and below another root than / there are no rules of this kernel',
);

async function recorded(sysroot: string, signal: AbortSignal, takesLocal: boolean): Promise<Buffer | null> {
  const bytes = await readBounded(join(sysroot, recordedRulesPath), limits.parts.firewall, signal);
  return bytes === null ? null : checked(bytes, takesLocal);
}

const members = ['version', 'nft', 'iptables', 'legacy', 'owned'];
const withLocal = ['version', 'nft', 'iptables', 'legacy', 'local', 'owned'];

/** The server checks each member of the form; an answer that has not even its members is a fault of this node. */
function checked(bytes: Buffer, takesLocal: boolean): Buffer {
  let part: unknown;
  try {
    part = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new NetfilterFault('malformed', 'the rules are no JSON', cause);
  }
  const names = typeof part === 'object' && part !== null ? Object.keys(part).join() : '';
  if (names === members.join()) return bytes;
  if (names !== withLocal.join() || typeof part !== 'object')
    throw new NetfilterFault('malformed', `the rules have not the members ${members.join(', ')}`);
  return takesLocal ? bytes : Buffer.from(JSON.stringify({ ...part, local: undefined }));
}
