import type { Fault } from './fault.ts';
import { isNamedOnly, noticeFile, noticeOf, readNotice } from './notice.ts';
import { readRuntimePackages } from './runtime-packages.ts';

/** By SPDX: what may be passed on under Apache-2.0 with its text beside it. */
const allowed: readonly string[] = [
  ...['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'CC0-1.0', 'ISC', 'MIT'],
  ...['PSF-2.0', 'Python-2.0', 'Unlicense', 'Zlib'],
];

/** That each package which runs beside our code may be passed on, and that the notice has the text of each. */
export function checkLicences(tree: string): readonly Fault[] {
  const packages = readRuntimePackages(tree);
  return [
    ...packages
      .filter(({ license }) => license === null || !isAllowed(license))
      .map(({ name, license }) => ({
        what: `${name} has the licence ${license ?? '(none)'}, which is not among those that are allowed`,
        next: 'Take another package; or, if its text allows what we do, add it to test/release/licences.ts.',
      })),
    ...packages
      .filter(({ name, texts, license }) => texts.size === 0 && !isNamedOnly(name) && !needsNoText(license))
      .map(({ name }) => ({
        what: `${name} comes without the text of its licence`,
        next: 'Ask its makers for it, or take another package.',
      })),
    ...(readNotice(tree) === noticeOf(packages)
      ? []
      : [
          {
            what: `${noticeFile} is not what the packages say`,
            next: 'Make it anew: node_modules/.bin/node test/release/main.ts --write-notice',
          },
        ]),
  ];
}

/** Of `A OR B` one is enough, of `A AND B` each counts. Brackets within brackets are no expression that anybody writes. */
function isAllowed(expression: string): boolean {
  const bare = expression.replace(/^\(|\)$/g, '');
  if (bare.includes('(')) return false;
  return bare
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((name) => allowed.includes(name.trim())));
}

/** Whoever passes these on owes nobody their text. */
function needsNoText(license: string | null): boolean {
  return ['0BSD', 'CC0-1.0', 'Unlicense'].includes(license ?? '');
}
