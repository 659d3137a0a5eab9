import { join } from 'node:path';
import { readBounded } from '../collectors/read-bounded.ts';
import type { WatchedSource } from './watch.ts';

/**
 * The ports on which the host listens. The kernel walks its whole table of sockets for each reading, which takes
 * milliseconds: every 15 s.
 */
export function listeners(sysroot: string): WatchedSource {
  return {
    what: 'listeners',
    everySeconds: 15,
    async look() {
      const ports = new Set<string>();
      for (const name of ['tcp', 'tcp6']) {
        const table = await readBounded(join(sysroot, 'proc/1/net', name), most);
        if (table === null) ports.add(`no ${name}`);
        for (const [, address] of table?.toString('latin1').matchAll(listening) ?? [])
          ports.add(address ?? '');
      }
      return [...ports].sort().join(' ');
    },
  };
}

/** 100,000 sockets at 150 bytes. */
const most = 16 * 1024 * 1024;

/** `sl: local remote state …` of a socket that listens: proc(5), TCP_LISTEN is 0A. */
const listening = /^ *\d+: ([0-9A-F]+:[0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm;
