import { z } from 'zod';
import type { LocatedFault } from '../../file/policy-error.ts';
import { fieldOf, listOf } from '../../file/raw-value.ts';
import { parseForm } from './form.ts';
import { type Owner, parseOwner, parsePlace, type WrittenOwner } from './owner.ts';
import { shippedOwners, shippedSources } from './shipped.ts';

const text = z.string().min(1, 'empty').max(512);

const entry = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'small letters, digits, - and .'),
  source: text.describe('where its forms are known from: a page, a file, a person'),
  chains: z
    .array(text)
    .max(64)
    .optional()
    .describe(
      'its chains: FAMILY[,FAMILY] TABLE NAME, the name in a form, such as ip,ip6 filter block-<word>',
    ),
  sets: z.array(text).max(64).optional().describe('its sets and maps of nft, written like chains'),
  rules: z
    .array(text)
    .max(256)
    .optional()
    .describe('the forms of rule that may stand in its chains, as assay why shows them, without -A CHAIN'),
});

/** `firewall.owners` of a policy. */
export const ownersSchema = z
  .array(z.union([z.string().min(1).max(64), entry]))
  .max(64)
  .optional()
  .describe(
    'programs that rewrite rules all the time, in exactly these forms: shipped (all that are), the name of a shipped one, or an entry of your own; default: [shipped]',
  );

export type NamedOwners = z.infer<typeof ownersSchema>;

/** @param given fits the schema and has no contradictions */
export function ownersOf(given: NonNullable<NamedOwners>): readonly Owner[] {
  return given.flatMap((one) => {
    if (typeof one === 'string')
      return one === 'shipped' ? shippedOwners : shippedOwners.filter(({ name }) => name === one);
    const owner = parseOwner(writtenOf(one));
    return typeof owner === 'string' ? [] : [owner];
  });
}

function writtenOf({ chains = [], sets = [], rules = [], ...about }: z.infer<typeof entry>): WrittenOwner {
  return { ...about, chains, sets, rules };
}

/** Attack: an entry, or a mistake in one, by which rules of anybody are left out. */
export function ownerFaults(given: unknown): LocatedFault[] {
  return listOf(fieldOf(given, 'owners'))
    .slice(0, 64)
    .flatMap((one, index) => {
      const at = (key: string, which: number) => ['owners', index, key, which] as const;
      if (typeof one === 'string') {
        if (one === 'shipped' || shippedSources.has(one)) return [];
        const known = [...shippedSources.keys()].join(', ');
        return [
          { path: ['owners', index], text: `${one} is no shipped owner: ${known}, or shipped for all` },
        ];
      }
      const faultsOf = (key: string, fault: (text: string) => string | null): LocatedFault[] =>
        listOf(fieldOf(one, key))
          .slice(0, 256)
          .flatMap((text, which) => {
            const found = typeof text === 'string' && text !== '' ? fault(text) : null;
            return found === null ? [] : [{ path: [...at(key, which)], text: found }];
          });
      const lists = ['chains', 'sets'].map((key) => listOf(fieldOf(one, key)).length);
      const isEmpty = typeof one === 'object' && one !== null && lists.every((length) => length === 0);
      return [
        ...(isEmpty ? [{ path: ['owners', index], text: 'names no chains and no sets' }] : []),
        ...faultsOf('chains', placeFault),
        ...faultsOf('sets', placeFault),
        ...faultsOf('rules', ruleFault),
      ];
    });
}

function placeFault(text: string): string | null {
  const place = parsePlace(text);
  if (typeof place === 'string') return place;
  const { name } = place;
  const taken = kernelNames.find((one) => name.fits(one, null));
  if (taken !== undefined)
    return `would take ${taken}, a name of the kernel's: chains with a hook are compared, whoever writes them`;
  const literal = name.text.replaceAll(/<[^>]*>/g, '');
  if (samples.every((one) => name.fits(one, null)) || literal.replaceAll(/[^A-Za-z0-9]/g, '').length < 2)
    return 'would take every name: spell out at least two letters of it';
  return null;
}

/** Chains that iptables and the pages of nft hook, however they are written. */
const kernelNames = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING', 'INGRESS', 'EGRESS'].flatMap(
  (name) => [name, name.toLowerCase()],
);
const samples = ['a', 'x1', 'zz-top', 'Q_9'];

function ruleFault(text: string): string | null {
  if (text.startsWith('-A ')) return 'begins with -A: leave out -A and the chain';
  const form = parseForm(text);
  if (typeof form === 'string') return form;
  if (text.split('<matches>').length > 2) return '<matches> may stand once';
  const jump = / ?-[jg] (\S+)/.exec(text)?.[1] ?? null;
  if (jump === null && text.includes('<matches>')) return '<matches> stands before a target: -j TARGET';
  if (jump?.startsWith('<') === true) return 'the target of -j must be spelled out';
  if (leading.test(text)) return 'leads packets elsewhere on the node: no owner may do that';
  if (/(?:^| )(?:-j DNAT|dnat)(?: |$)/.test(text) && !/<(?:elsewhere|inner)>/.test(text))
    return 'sends packets to an address: write <elsewhere> for it, which is none of the node';
  const conditions = text.replace(/<matches> ?/, '').replace(/-m comment --comment \S+ ?/, '');
  if (/^(?:-j ACCEPT|accept)(?: |$)/.test(conditions)) return 'lets every packet in: say which ones';
  return null;
}

const leading = /(?:^| )(?:-j (?:REDIRECT|TPROXY|NFQUEUE|QUEUE|TEE)|redirect|tproxy|queue|fwd|dup)(?: |$)/;
