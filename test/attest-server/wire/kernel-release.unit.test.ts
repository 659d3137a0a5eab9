import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { compareKernels, parseKernelRelease } from '../../../attest-server/wire/kernel-release.ts';

function compared(a: string, b: string): number {
  const [left, right] = [parseKernelRelease(a), parseKernelRelease(b)];
  assert(left !== null && right !== null, `${a} ${b}`);
  return Math.sign(compareKernels(left, right));
}

/** As distributions call theirs. */
const older: readonly (readonly [string, string])[] = [
  ['6.9.0', '6.12'],
  ['6.12.9+deb13-amd64', '6.12.48+deb13-amd64'],
  ['6.12.48+deb13-amd64', '6.12.49+deb13-cloud-amd64'],
  ['6.12-rc3', '6.12-rc7'],
  ['6.12.0-rc7+', '6.12'],
  ['6.13-rc6-amd64', '6.13.1-amd64'],
  ['6.8.0-31-generic', '6.8.0-49-generic'],
  ['6.8.0-49-generic', '6.8.0-1023-aws'],
  ['5.14.0-427.el9.x86_64', '5.14.0-503.15.1.el9_5.x86_64'],
  ['5.14.0-503.el9', '5.14.0-503.15.1.el9_5.x86_64'],
  ['6.1.0-28-cloud-amd64', '6.1.0-30-amd64'],
  ['6.12.48+deb13-amd64', '6.12.48-1'],
  ['5.15.167.4-microsoft-standard-WSL2', '6.1'],
];

const same: readonly (readonly [string, string])[] = [
  ['6.12', '6.12.0'],
  ['6.12.48+deb13-amd64', '6.12.48'],
  ['6.12.48+deb13-cloud-amd64', '6.12.48+deb13-amd64'],
  ['6.1.0-28-cloud-amd64', '6.1.0-28-amd64'],
  ['6.10.14-linuxkit', '6.10.14'],
];

describe('the release of a kernel', () => {
  for (const [a, b] of older)
    it(`${a} is older than ${b}`, () => assert.deepEqual([compared(a, b), compared(b, a)], [-1, 1]));
  for (const [a, b] of same) it(`${a} is as new as ${b}`, () => assert.equal(compared(a, b), 0));

  it('is none where it begins with no version', () => {
    for (const text of ['', '6', 'v6.12', 'linux-6.12', '.12', '6.x', '999999.1'])
      assert.equal(parseKernelRelease(text), null, text);
  });

  it('is any text, which gives an order or nothing', () => {
    const release = fc.stringMatching(/^\d{1,3}\.\d{1,3}[-+.rc0-9a-z]{0,20}$/);
    fc.assert(
      fc.property(fc.oneof(release, fc.string()), fc.oneof(release, fc.string()), release, (a, b, c) => {
        const [x, y, z] = [a, b, c].map(parseKernelRelease);
        if (!x || !y || !z) return;
        assert.equal(Math.sign(compareKernels(x, y)), 0 - Math.sign(compareKernels(y, x)));
        if (compareKernels(x, y) <= 0 && compareKernels(y, z) <= 0) assert.ok(compareKernels(x, z) <= 0);
      }),
    );
  });
});
