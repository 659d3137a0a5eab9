import { shownText } from '../nft-json.ts';
import {
  baseText,
  type Chain,
  chainKey,
  type NamedObject,
  objectKey,
  type Rule,
  type Ruleset,
} from '../ruleset.ts';
import type { Form, SendsAway } from './form.ts';
import type { Owner, RulePlace } from './owner.ts';

/**
 * Rules without what owners write, in exactly their forms: in their chains, sets and hooks, and the rules by which they
 * are entered. A rule of any other form stays, as nobody's.
 * @param sendsAway null if the node does not say which addresses are its own: then no rule that sends packets is left out
 */
export function withoutOwned(ruleset: Ruleset, owners: readonly Owner[], sendsAway: SendsAway): Ruleset {
  const able = owners.filter(({ heldOnly }) => !heldOnly || sendsAway !== null);
  const byTable = new Map<string, readonly Owner[]>();
  for (const owner of able)
    for (const { families, table } of [...owner.chains, ...owner.sets])
      for (const family of families) {
        const known = byTable.get(`${family} ${table}`) ?? [];
        if (!known.includes(owner)) byTable.set(`${family} ${table}`, [...known, owner]);
      }
  const chains = new Map<string, Chain>();
  for (const chain of ruleset.chains.values()) {
    const its = byTable.get(`${chain.family} ${chain.table}`) ?? [];
    const left = its.length === 0 ? chain : chainWithout(chain, its, sendsAway);
    if (left !== null) chains.set(chainKey(chain), left);
  }
  const objects = new Map<string, NamedObject>();
  for (const object of ruleset.objects.values()) {
    const its = byTable.get(`${object.family} ${object.table}`) ?? [];
    const left = its.length === 0 ? object : objectWithout(object, its, chains);
    if (left !== null) objects.set(objectKey(object), left);
  }
  return { ...ruleset, chains, objects };
}

/** Null if nothing of it is compared. */
function chainWithout(chain: Chain, owners: readonly Owner[], sendsAway: SendsAway): Chain | null {
  const its = owners.filter((owner) => isIts(owner, chain));
  if (its.length === 0) return chain;
  const forms = its.flatMap(({ rules }) => rules);
  const endings = [...new Set(forms.map(({ ending }) => ending))];
  const rules = chain.rules.filter((rule) => !isOf(rule, forms, endings, sendsAway));
  const isOwn = its.some(({ within }) => !within);
  if (isOwn && rules.length === 0) return null;
  return rules.length === chain.rules.length ? chain : { ...chain, rules };
}

/** A chain with a hook is an owner's only where the hook is, too. */
function isIts({ chains, within, hooks }: Owner, { family, table, name, base }: Chain): boolean {
  const isHooked = within || base === null || hooks.includes(baseText(base));
  return isHooked && chains.some((place) => isAt(place, family, table, name));
}

function isAt(place: RulePlace, family: string, table: string, name: string): boolean {
  return place.table === table && place.families.includes(family) && place.name.fits(name, null);
}

function isOf(rule: Rule, forms: readonly Form[], endings: readonly string[], sendsAway: SendsAway): boolean {
  const text = rule.text.startsWith('[') ? rule.shown() : rule.text.replace(/^-A \S+ /, '');
  const last = text.slice(text.lastIndexOf(' ') + 1);
  if (!endings.some((ending) => last.startsWith(ending))) return false;
  return forms.some((form) => last.startsWith(form.ending) && form.fits(text, sendsAway));
}

/** Null if a set is its owner's, and no rule that is compared asks it. What leads to a verdict must be of a form, as a rule must. */
function objectWithout(
  object: NamedObject,
  owners: readonly Owner[],
  chains: ReadonlyMap<string, Chain>,
): NamedObject | null {
  const { family, table, type, name } = object;
  const its = owners.filter(({ sets }) => sets.some((place) => isAt(place, family, table, name)));
  if (its.length === 0 || (type !== 'set' && type !== 'map')) return object;
  const asked = JSON.stringify(`@${name}`);
  const isAsked = [...chains.values()].some(
    (chain) =>
      chain.family === family &&
      chain.table === table &&
      chain.rules.some(({ text }) => text.includes(asked)),
  );
  const forms = its.flatMap(({ rules }) => rules);
  const isOfForm = (element: string) => forms.some((form) => form.fits(shownText(element), null));
  const elements = object.elements.filter((element) =>
    element.startsWith('[') ? !isOfForm(element) : isAsked,
  );
  return elements.length === 0 && !isAsked ? null : { ...object, elements };
}
