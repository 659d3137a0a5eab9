import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { join } from 'node:path';
import type { IsOwnAddress } from '../../attest-server/wire/stray-rules.ts';
import { NetfilterFault } from './netfilter-fault.ts';
import { type Netns, outputOf, readProc } from './tools.ts';

/**
 * Tells whether packets to an address are the node's own, as the kernel's table of local routes says; null if it shows none.
 * @throws NetfilterFault
 */
export async function readOwnAddresses(where: Netns, signal?: AbortSignal): Promise<IsOwnAddress | null> {
  const own = new BlockList();
  const trie = await readNet(where, 'fib_trie', signal);
  if (trie === null) return null;
  for (const [address, length] of localIPv4(trie)) own.addSubnet(address, length, 'ipv4');
  for (const [address, length] of localIPv6((await readNet(where, 'ipv6_route', signal)) ?? ''))
    own.addSubnet(address, length, 'ipv6');
  return (address) =>
    isIPv4(address) ? own.check(address, 'ipv4') : isIPv6(address) && own.check(address, 'ipv6');
}

type Subnet = readonly [address: string, length: number];

/** Each leaf of the trie is an address, and below it what routes there are to it (Documentation of fib_trie). */
function localIPv4(text: string): readonly Subnet[] {
  const nets: Subnet[] = [];
  let address = '';
  for (const line of text.split('\n')) {
    address = /\|-- (\d+\.\d+\.\d+\.\d+)/.exec(line)?.[1] ?? address;
    const length = /^\s+\/(\d+) \S+ LOCAL/.exec(line)?.[1];
    if (length !== undefined && isIPv4(address)) nets.push([address, Number(length)]);
  }
  return nets;
}

/** Address and length in hexadecimal, seven columns on the flags, of which one says local (RTF_LOCAL). */
function localIPv6(text: string): readonly Subnet[] {
  return text.split('\n').flatMap((line) => {
    const columns = line.trim().split(/\s+/);
    const [address = '', length = ''] = columns;
    const flags = Number.parseInt(columns[8] ?? '', 16);
    if (!/^[0-9a-f]{32}$/.test(address) || (flags & local) === 0) return [];
    return [[(address.match(/.{4}/g) ?? []).join(':'), Number.parseInt(length, 16)] as const];
  });
}

const local = 0x8000_0000;
const mostBytes = 16 * 1024 * 1024;

/** Null if there is no such file: a kernel without IPv6 has none of its routes. */
async function readNet(where: Netns, name: string, signal?: AbortSignal): Promise<string | null> {
  const path = join(where.proc ?? '/proc', 'net', name);
  if (where.netns === null) return readProc(path, mostBytes);
  return outputOf(where, 'cat', [path], signal).catch((fault: unknown) => {
    if (
      fault instanceof NetfilterFault &&
      fault.code === 'failed' &&
      /No such file or directory\b/.test(fault.message)
    )
      return null;
    throw fault;
  });
}
