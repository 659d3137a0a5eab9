import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseBootIndex } from '../../../agent/inspect/boot-index.ts';
import { parseCrypttab } from '../../../agent/inspect/detached-headers.ts';
import { parseInspectedFile } from '../../../agent/inspect/inspected-file.ts';
import { parseKeyResidue } from '../../../agent/inspect/key-residue.ts';
import { parseMappingTables, withoutKeys } from '../../../agent/inspect/mapping-tables.ts';
import { parseSwaps } from '../../../agent/inspect/swaps.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { parsedBytes } from './made-machine.ts';

const bytes = fc.uint8Array({ maxLength: 40_000 }).map((array) => Buffer.from(array));

describe('what inspect parses', () => {
  it('is a header, or none with its fault, of any bytes, and few of them are read', () => {
    const begins = fc.constantFrom('', 'LUKS\xba\xbe\0\x01', 'LUKS\xba\xbe\0\x02', 'LUKS\xba\xbe\0\x07');
    const size = fc.constantFrom(0n, 0x4000n, 0x8000n, 0x400000n, 0x4001n, 0xffff_ffff_ffff_ffffn);
    fc.assert(
      fc.property(bytes, begins, size, fc.boolean(), (rest, begin, length, isVolume) => {
        const head = Buffer.alloc(8);
        head.writeBigUInt64BE(length);
        const device = Buffer.concat([Buffer.from(begin, 'latin1'), head, rest]);
        const { header, read } = parsedBytes(device, isVolume);
        assert.equal(header?.version === 2, false);
        assert(read.every(([at = 0, end = 0]) => end - at <= 8 * 1024 * 1024));
      }),
    );
  });

  it('holds no key of a table, whatever it is', () => {
    const key = fc
      .uint8Array({ minLength: 16, maxLength: 128 })
      .map((array) => Buffer.from(array).toString('hex'))
      .filter((text) => !/^0+$/.test(text));
    fc.assert(
      fc.property(key, fc.constantFrom('crypt', 'inlinecrypt', 'default-key'), (text, type) => {
        const shown = withoutKeys(`0 100 ${type} aes-xts-plain64 ${text} 0 8:1 0`);
        assert.equal(shown, `0 100 ${type} aes-xts-plain64 :${text.length / 2}: 0 8:1 0`);
        const integrity = withoutKeys(`0 100 integrity 8:1 0 32 J 1 internal_hash:hmac(sha256):${text}`);
        assert(!integrity.includes(text));
      }),
    );
  });

  it('is a value or a named fault, of any text', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.string(), { maxLength: 4 }), (some, names) => {
        parseKeyResidue(some, new Set(), new Set(names));
        parseCrypttab(some.toString());
        const { tables } = parseMappingTables(some.toString('latin1'), names);
        assert([...tables.keys()].every((name) => names.includes(name)));
        try {
          parseSwaps(some);
        } catch (error) {
          assert(error instanceof RangeError);
        }
        for (const parse of [parseInspectedFile, parseBootIndex]) assert.throws(() => parse(some), Rejection);
      }),
    );
  });
});
