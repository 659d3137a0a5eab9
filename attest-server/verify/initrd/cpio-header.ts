import { typeOfMode } from '../../formats/file-type.ts';
import { InitrdError } from './initrd-error.ts';

/** The header of an entry: Documentation/driver-api/early-userspace/buffer-format.rst. */
export interface CpioHeader {
  /** st_mode, with its type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  /** Device, number and type: what two names of one file have in common. */
  readonly inode: string;
  readonly bytes: number;
  readonly device: readonly [number, number];
  /** With the zero after it, and what else is there up to the start of the bytes. */
  readonly nameBytes: number;
  /** The sum of all its bytes, modulo 2^32, where the archive says it. */
  readonly checksum: number | null;
}

export const headerBytes = 110;

/** The longest name with the zero after it, or target of a link. */
export const PATH_MAX = 4096;

/** @throws InitrdError */
export function parseHeader(bytes: Buffer): CpioHeader {
  const text = bytes.toString('latin1', 0, headerBytes);
  const magic = text.slice(0, 6);
  if (magic === '070707')
    throw new InitrdError('an archive of the old portable form, which the kernel does not unpack');
  if (magic !== '070701' && magic !== '070702') throw new InitrdError('no archive in the form newc');
  // Attack: older kernels read `0x` and numbers that end early, newer ones stop.
  if (!/^[0-9a-f]{104}$/i.test(text.slice(6)))
    throw new InitrdError('a header with something else than hexadecimal numbers');
  const field = (index: number) => Number.parseInt(text.slice(6 + index * 8, 14 + index * 8), 16);
  const mode = field(1);
  const device = [field(9), field(10)] as const;
  if (mode > 0xffff) throw new InitrdError('a mode of more than 16 bits');
  if (device[0] > 0xfff || device[1] > 0xf_ffff) throw new InitrdError('a device that there is not');
  return {
    mode,
    uid: field(2),
    gid: field(3),
    links: field(4),
    inode: [typeOfMode(mode), field(7), field(8), field(0)].join(),
    bytes: field(6),
    device,
    nameBytes: field(11),
    checksum: magic === '070702' ? field(12) : null,
  };
}
