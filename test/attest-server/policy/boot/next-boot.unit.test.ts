import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { reference as parsed, type Reference } from '../../../../attest-server/formats/reference.ts';
import {
  type ForecastNode,
  forecastBoot,
  knownDigests,
} from '../../../../attest-server/policy/boot/next-boot.ts';
import type { InstalledFile, InstalledPart } from '../../../../attest-server/wire/installed.ts';
import { policyOf } from '../made-proof.ts';

const at = Date.parse('2026-12-03T12:00:00Z');
const since = '2026-12-02T12:00:00.000Z';
const digestOf = (content: string) => hash('sha256', content, 'hex');

function file(kind: InstalledFile['kind'], content: string, booted = false): InstalledFile {
  const paths = {
    database: 'dbx',
    loader: 'boot/efi/EFI/debian/shimx64.efi',
    kernel: 'boot/vmlinuz-6.12',
    initrd: 'boot/initrd.img-6.12',
  };
  return { kind, path: paths[kind], since, booted, digests: [digestOf(content), 'f'.repeat(96)] };
}

function lying(
  changes: Partial<Record<InstalledFile['kind'], InstalledFile>> = {},
  more: Partial<InstalledPart> = {},
  others: readonly InstalledFile[] = [],
): InstalledPart {
  const booted = {
    database: file('database', 'dbx', true),
    loader: file('loader', 'shim', true),
    kernel: file('kernel', 'kernel', true),
    initrd: file('initrd', 'initrd', true),
  };
  return { version: 1, files: [...Object.values({ ...booted, ...changes }), ...others], unread: [], ...more };
}

function known(contents: readonly string[], more: Partial<Reference> = {}): Reference {
  const components = contents.map((content) => ({
    stage: 'kernel',
    scope: 'group',
    digests: { sha256: digestOf(content) },
    description: content,
  }));
  return {
    ...parsed.parse({
      version: 1,
      name: 'next',
      group: 'workers',
      state: 'active',
      expires: null,
      pcrs: {},
      components,
    }),
    ...more,
  };
}

const announced = { nodes: null, by: 'alice', at: since, until: '2026-12-04T00:00:00Z', reason: 'update' };
const changed = lying({ kernel: file('kernel', 'new kernel'), initrd: file('initrd', 'new initrd') });
const both = ['new kernel', 'new initrd'];
const grub = { ...file('loader', 'new grub'), path: 'boot/efi/EFI/debian/grubx64.efi' };

interface Case {
  readonly installed?: InstalledPart | string;
  readonly references?: readonly Reference[];
  readonly node?: Partial<ForecastNode>;
  readonly scope?: string;
}

function foretold({ installed = changed, references = [], node = {}, scope = '{}' }: Case) {
  const [group] = policyOf('require: [identity, boot]', `boot: {scope: ${scope}}`).groups;
  assert(group !== undefined);
  const its = {
    name: 'worker-1',
    group: { ...group, name: 'workers' },
    isAffirmed: true,
    hasLease: true,
    hasOtherHeader: false,
    hasOtherVolume: false,
    ...node,
  };
  return forecastBoot(installed, knownDigests(references), its, at);
}

describe('the forecast of a boot', () => {
  const cases: Readonly<Record<string, readonly [Case, answer: string, why?: RegExp]>> = {
    'of what was booted and affirmed is that it would be': [{ installed: lying() }, 'would'],
    'of a kernel that references in force have with its initrd is that it would be': [
      { references: [known(both)] },
      'would',
    ],
    'of a kernel and an initrd of two references is that it would be': [
      { references: both.map((one) => known([one])) },
      'would',
    ],
    'of a kernel that nobody staged is that it would not': [
      {},
      'would_not',
      /newest kernel .*no reference in force of group workers/,
    ],
    'of an initrd that nobody staged is that it would not': [
      { references: [known(['new kernel'])] },
      'would_not',
      /initrd .* is in no reference/,
    ],
    'of a loader that nobody knows is that it would not': [
      { installed: lying({ loader: file('loader', 'new shim') }) },
      'would_not',
      /boot loader/,
    ],
    'of another dbx is that it would not': [
      { installed: lying({ database: file('database', 'new dbx') }) },
      'would_not',
      /database dbx/,
    ],
    'of a kernel of a staged reference is that it would not, and names it': [
      { references: [known(both, { state: 'staged' })] },
      'would_not',
      /reference next, which is staged/,
    ],
    'of a kernel of a retired reference is that it would not': [
      { references: [known(both, { state: 'retired' })] },
      'would_not',
      /retired/,
    ],
    'of a kernel of a revoked reference is that it would not': [
      { references: [known(both, { state: 'revoked' })] },
      'would_not',
      /revoked/,
    ],
    'of a kernel of a revoked reference and of one in force is that it would': [
      { references: [known(both, { state: 'revoked' }), known(both)] },
      'would',
    ],
    'of a kernel whose reference has expired is that it would not': [
      { references: [known(both, { expires: since })] },
      'would_not',
    ],
    'of a kernel of another group is that it would not': [
      { references: [known(both, { group: 'others' })] },
      'would_not',
    ],
    'of an announced kernel is that it would, without a disk': [
      { references: [known(both, { state: 'staged', announced })], node: { hasLease: false } },
      'would',
    ],
    'of an announced kernel is that it gets no key of a disk': [
      { references: [known(both, { state: 'staged', announced })] },
      'would_not',
      /staged/,
    ],
    'of what the policy leaves open goes by the rest': [
      { references: [known(['new kernel'])], scope: '{initrd: unpinned}' },
      'would',
    ],
    'of a revoked initrd is that it would not, though the policy takes any': [
      {
        references: [known(['new kernel']), known(['new initrd'], { state: 'revoked' })],
        scope: '{initrd: unpinned}',
      },
      'would_not',
      /revoked/,
    ],
    'of two loaders of which no reference has both is that it would not': [
      {
        installed: lying({ loader: file('loader', 'new shim') }, {}, [grub]),
        references: [known(['new shim']), known(['new grub'])],
      },
      'would_not',
      /no reference in force has it together with boot.efi.EFI.debian.grubx64.efi/,
    ],
    'of a new loader beside one that was booted is unknown, where no reference has both': [
      { installed: lying({}, {}, [grub]), references: [known(['shim']), known(['new grub'])] },
      'unknown',
      /no reference in force has it together with boot.efi.EFI.debian.shimx64.efi/,
    ],
    'of two loaders that one reference has is that it would': [
      { installed: lying({}, {}, [grub]), references: [known(['shim', 'new grub'])] },
      'would',
    ],
    'of an initrd that is judged by its content is unknown': [
      { references: [known(['new kernel'])], scope: '{initrd: contents}' },
      'unknown',
      /what is in it/,
    ],
    'of a reference of another node is that it would not, where the policy goes by node': [
      { references: [known(both)], scope: '{kernel: node}' },
      'would_not',
    ],
    'of a boot that is not affirmed is unknown, even if all files are known': [
      {
        installed: lying(),
        references: [known(['dbx', 'shim', 'kernel', 'initrd'])],
        node: { isAffirmed: false },
      },
      'unknown',
      /not affirmed/,
    ],
    'of an unknown kernel that runs already is that it would not': [
      { installed: lying(), references: [known(['dbx', 'shim', 'initrd'])], node: { isAffirmed: false } },
      'would_not',
      /newest kernel/,
    ],
    'of a file that was not read is unknown': [
      { installed: lying({}, { unread: ['boot/initrd.img-6.12: EACCES'] }) },
      'unknown',
      /EACCES/,
    ],
    'of no file at all is unknown': [
      { installed: { version: 1, files: [], unread: [] } },
      'unknown',
      /names no file/,
    ],
    'of a node that says nothing is unknown': [
      { installed: 'its agent is older' },
      'unknown',
      /its agent is older/,
    ],
    'of an unread file beside an unknown one is that it would not': [
      { installed: { ...changed, unread: ['x'] } },
      'would_not',
    ],
  };
  for (const [name, [given, answer, why]] of Object.entries(cases))
    it(name, () => {
      const forecast = foretold(given);
      assert.equal(forecast.answer, answer, JSON.stringify(forecast));
      assert.equal(forecast.causes.length === 0, answer === 'would');
      if (why !== undefined) assert.match(forecast.causes.map(({ text }) => text).join('\n'), why);
      for (const { next } of forecast.causes) assert.notEqual(next, '');
    });

  it('says which file, which digest, since when, and what stages it', () => {
    const [kernel, initrd] = foretold({}).causes;
    assert.equal(kernel?.since, since);
    assert.match(kernel.text, new RegExp(`/boot/vmlinuz-6.12 \\(sha256:${digestOf('new kernel')}\\)`));
    assert.match(
      kernel.next,
      /assay reference compute .* --group workers --kernel vmlinuz-6.12 --initrd initrd.img-6.12/,
    );
    assert.equal(initrd?.next, kernel.next);
    const [staged] = foretold({ references: [known(both, { state: 'staged' })] }).causes;
    assert.match(staged?.next ?? '', /^ {2}assay reference approve next --reason "it is installed"$/m);
  });

  it('gives no command with a name of a file that a shell reads otherwise', () => {
    const evil = { ...file('kernel', 'new kernel'), path: "boot/vmlinuz-6.12'; reboot #" };
    const [cause] = foretold({ installed: lying({ kernel: evil }) }).causes;
    assert.match(cause?.next ?? '', /--kernel 'vmlinuz-6.12'\\''; reboot #'/);
  });

  it('has the kernel computed as the loader of the node starts it', () => {
    const startedAt = (...pcrs: readonly number[]) => {
      const captured = known(['shim', ...pcrs.map((pcr) => `kernel in PCR ${pcr}`)]);
      const components = captured.components.map((one, index) =>
        index === 0 ? { ...one, stage: 'loader', pcr: 4 } : { ...one, pcr: pcrs[index - 1] ?? 0 },
      );
      const [first] = foretold({ references: [{ ...captured, components }] }).causes;
      return /--initrd initrd.img-6.12(.*) -f/.exec(first?.next ?? '')?.[1];
    };
    assert.equal(startedAt(4, 9), '');
    assert.equal(startedAt(9), ' --no-secure-boot');
    assert.equal(startedAt(4), ' --via systemd-boot');
    assert.equal(startedAt(), '');
  });
});
