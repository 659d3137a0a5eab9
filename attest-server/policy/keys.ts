import { BlockList, isIP } from 'node:net';
import { bech32 } from '@scure/base';

/** The rules by which nodes of a group get the keys of their disks. */
export interface KeyRules {
  /** Networks from which they may be asked for; null: from everywhere. */
  readonly from: readonly string[] | null;
  /** Keys are given to boots in which nothing that was measured vouches for the root file system. */
  readonly allowUnmeasuredRoot: boolean;
  /** age recipients who can open a volume without the server. */
  readonly recoveryRecipients: readonly string[];
}

/** Whether an address lies in one of these networks. @param from each `isNetwork` */
export function isWithin(address: string, from: readonly string[]): boolean {
  const networks = new BlockList();
  for (const network of from) {
    const [base = '', bits] = network.split('/');
    networks.addSubnet(base, Number(bits), familyOf(base));
  }
  const plain = plainAddress(address);
  return isIP(plain) !== 0 && networks.check(plain, familyOf(plain));
}

/** The same address, where a socket of both families shows one of IPv4. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}

/** Whether a text is a recipient of age's own kind (X25519): 32 bytes in Bech32 (BIP 173), whose checksum shows what was mistyped. */
export function isRecipient(text: string): boolean {
  const decoded = bech32.decodeUnsafe(text) ?? null;
  if (decoded === null || decoded.prefix !== 'age' || text !== text.toLowerCase()) return false;
  return (bech32.fromWordsUnsafe(decoded.words) ?? []).length === 32;
}

/** Whether a text is a network: address, slash, bits. */
export function isNetwork(text: string): boolean {
  const [base = '', bits = '', ...rest] = text.split('/');
  const family = isIP(base);
  if (family === 0 || rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(bits)) return false;
  return Number(bits) <= (family === 4 ? 32 : 128);
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}
