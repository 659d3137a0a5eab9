import { printable } from '../../../wire/printable.ts';
import type { Reason } from '../../../wire/verdict.ts';
import type { JudgedBundle } from './verify.ts';

/**
 * A verdict in the XML that continuous integration reads: one test case an aspect, and one for the evidence itself.
 * A finding that breaks the policy is a failure, evidence that is rejected an error, what could not be judged skipped.
 */
export function junit(file: string, { verdict, rejected }: JudgedBundle): string {
  const cases = rejected
    ? [
        testCase(
          'evidence',
          verdict.reasons.map((reason) => problem('error', reason)),
        ),
      ]
    : [
        testCase('evidence', []),
        ...Object.entries(verdict.aspects).map(([aspect, { status }]) => {
          const own = verdict.reasons.filter((reason) => reason.aspect === aspect);
          const failed = own.filter(({ severity }) => severity === 'fail');
          const others = own.filter(({ severity }) => severity !== 'fail');
          const skipped =
            failed.length === 0 && status === 'none' ? ['<skipped message="not appraised"/>'] : [];
          return testCase(aspect, [
            ...failed.map((reason) => problem('failure', reason)),
            ...skipped,
            ...others.map(({ code, text }) => `<system-out>${xml(`${code}: ${text}`)}</system-out>`),
          ]);
        }),
        testCase(
          'state',
          verdict.state === 'trusted'
            ? verdict.trial
              ? ['<skipped message="the server was on trial"/>']
              : []
            : [`<failure type="${xml(verdict.state)}" message="${xml(`the state is ${verdict.state}`)}"/>`],
        ),
      ];
  const count = (element: string) => cases.filter((each) => each.includes(`<${element} `)).length;
  const counts = `tests="${cases.length}" failures="${count('failure')}" errors="${count('error')}" skipped="${count('skipped')}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="assay verify" ${counts}>`,
    `  <testsuite name="${xml(file)}" ${counts}>`,
    ...cases,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function testCase(name: string, inside: readonly string[]): string {
  const head = `    <testcase classname="assay.verify" name="${xml(name)}"`;
  return inside.length === 0
    ? `${head}/>`
    : `${head}>\n${inside.map((line) => `      ${line}\n`).join('')}    </testcase>`;
}

function problem(element: 'failure' | 'error', { code, text, expected, actual }: Reason): string {
  const body = [`expected: ${expected ?? '-'}`, `actual: ${actual ?? '-'}`].map(xml).join('\n');
  return `<${element} type="${xml(code)}" message="${xml(text)}">${body}</${element}>`;
}

/** Evidence names files and commands in it; what XML cannot hold is shown as an escape. */
function xml(text: string): string {
  return printable(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
