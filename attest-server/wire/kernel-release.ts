/** A kernel's release as `uname -r` prints it, as far as two of them can be compared. */
export interface KernelRelease {
  /** `6.12.48` is 6, 12, 48; what is not named is 0. */
  readonly version: readonly [number, number, number];
  /** The number of a release candidate; Infinity for a release. */
  readonly candidate: number;
  /** Numbers that a distribution counts its builds with, as 49 of `6.8.0-49-generic`; empty if it has none. */
  readonly build: readonly number[];
}

/** Debian's `+deb13`, flavours as `-cloud-amd64` and names behind the numbers say nothing of which one is newer. */
const form =
  /^(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?(?:-rc(\d{1,5}))?(?:\+[\w~.]*)?(?:-(\d{1,9}(?:\.\d{1,9}){0,7})(?![\w]))?/;

/** Null if the text begins with no version. */
export function parseKernelRelease(text: string): KernelRelease | null {
  const [, major, minor, patch = '0', candidate, build] = form.exec(text) ?? [];
  if (major === undefined || minor === undefined) return null;
  return {
    version: [Number(major), Number(minor), Number(patch)],
    candidate: candidate === undefined ? Number.POSITIVE_INFINITY : Number(candidate),
    build: build === undefined ? [] : build.split('.').map(Number),
  };
}

/** Below 0 where `a` is older. A build is newer than none: who asks for a build gets no release that names none. */
export function compareKernels(a: KernelRelease, b: KernelRelease): number {
  for (const index of [0, 1, 2] as const)
    if (a.version[index] !== b.version[index]) return a.version[index] - b.version[index];
  if (a.candidate !== b.candidate) return a.candidate < b.candidate ? -1 : 1;
  for (let index = 0; index < Math.max(a.build.length, b.build.length); index++) {
    const [left, right] = [a.build[index] ?? -1, b.build[index] ?? -1];
    if (left !== right) return left - right;
  }
  return 0;
}
