import * as api from '../api/api.ts';
import { candidatesQuery, referenceCandidates } from '../api/candidates-api.ts';
import { listOf } from '../api/list.ts';
import { captureTrial, captureTrialRequest, referenceTrial, simulatedPage } from '../api/policy-api.ts';
import {
  longestAnnouncement,
  pcrsByValue,
  plainName,
  type Reference,
  reference,
  referenceActions,
  unseenFiles,
} from '../formats/reference.ts';
import { limits } from '../wire/limits.ts';
import { readBody } from './body.ts';
import { checkGroups } from './choose-nodes.ts';
import { endOf } from './end-of.ts';
import { findNode } from './find-node.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, ok, type Route, route, routeWithQuery } from './route.ts';

const referenceBytes = limits.references.one;

const changes = {
  approve: 'Put a staged reference in force: nodes like it are trusted',
  retire: 'Take a reference out of force: nodes like it are no longer known',
  revoke: 'Mark what this reference says as bad',
  restore: 'Take a revocation back that was a mistake: the reference is in the state that it had before',
} as const;

const { referenceChange } = api;
const bodies = {
  approve: referenceChange,
  retire: referenceChange,
  revoke: api.referenceRevocation,
  restore: referenceChange,
} as const;

/** Reference values over their life. */
export const referenceRoutes: readonly Route[] = [
  route('GET', '/v1/references', 'reader', {
    operation: 'listReferences',
    summary: 'Reference values, without their PCRs, events and files',
    answer: listOf(api.referenceView),
    async handle({ store }) {
      return ok({ items: (await store.references()).map(referenceSummary), next: null });
    },
  }),
  // Before the one below, so that it is not taken for a name.
  routeWithQuery('GET', '/v1/references/candidates', 'reader', {
    operation: 'listReferenceCandidates',
    summary: 'What nodes show and no reference in force has, grouped, with the step that puts each in force',
    query: candidatesQuery,
    answer: referenceCandidates,
    async handle({ references, store, policy }, { query }) {
      if (query.group !== undefined) {
        const statuses = await store.statuses();
        checkGroups([query.group], { policy }, () => statuses.flatMap(({ verdict }) => verdict?.group ?? []));
      }
      return ok(await references.candidates(query));
    },
  }),
  route('GET', '/v1/references/{name}', 'reader', {
    operation: 'getReference',
    summary: 'One reference with its values, events and files',
    answer: reference,
    async handle({ store }, { path }) {
      const name = nameIn(path);
      const found = (await store.references()).find((candidate) => candidate.name === name);
      if (found === undefined) throw noReference();
      return ok(found);
    },
  }),
  route('POST', '/v1/references', 'operator', {
    operation: 'captureReference',
    summary:
      'Capture what nodes last proved: as one reference, or one for each node that those before it do not cover. Where more than no_reference stands against a node, only with a reason, or staged',
    needsRoom: true,
    body: api.captureRequest,
    status: 201,
    problems: [404, 409],
    answer: api.captureAnswer,
    async handle({ store, references }, { message, caller }) {
      const asked = await readBody(message, api.captureRequest, bodyBytes);
      const order = await captureOrder(asked, store, actorOf(caller));
      const [made, ...others] = await references.capture(order).catch(notNow);
      const body: api.CaptureAnswer = { ...referenceSummary(made), others: others.map(referenceSummary) };
      return { status: 201, body };
    },
  }),
  route('POST', '/v1/references/capture/simulate', 'operator', {
    operation: 'simulateCapture',
    summary:
      'What a capture would make, what stands against its nodes, who would turn trusted by it, and of whom it would demand a proof of the boot that is not given; nothing is stored; after is the `next` of the page before',
    // While nothing can be stored no capture can be: what is wrong is that, and not that no node proved itself lately.
    needsRoom: true,
    problems: [404, 409, 429],
    body: captureTrialRequest,
    answer: captureTrial,
    async handle({ store, references, policies }, { message, caller }) {
      const { after, limit, ...asked } = await readBody(message, captureTrialRequest, bodyBytes);
      const order = await captureOrder(asked, store, actorOf(caller));
      const { references: made, against, digest } = await references.draft(order).catch(notNow);
      const { items, next } = await policies.simulateAdded(made, { after, limit }, against.length > 0);
      return ok({
        references: made.map(referenceSummary),
        items,
        next,
        against: against.map(({ news, reasons, ...each }) => ({
          ...each,
          reasons: [...reasons],
          new: news.map((thing) => ({ ...thing })),
        })),
        digest,
      });
    },
  }),
  route('POST', '/v1/references/import', 'operator', {
    operation: 'importReference',
    summary: 'Take in a reference that was made elsewhere',
    needsRoom: true,
    body: reference,
    status: 201,
    problems: [409],
    maxBytes: referenceBytes,
    answer: api.referenceView,
    async handle({ references }, { message, caller }) {
      const sent = await readBody(message, reference, referenceBytes);
      checkWord(sent.name);
      const added = await references.life.add(sent, actorOf(caller)).catch(notNow);
      return { status: 201, body: referenceSummary(added) };
    },
  }),
  route('POST', '/v1/references/{name}/announce', 'operator', {
    operation: 'announceReference',
    summary:
      'Expect nodes to boot like a staged reference until a moment: it counts for them, and on the way there they are pending',
    problems: [409],
    body: api.announceRequest,
    answer: api.referenceView,
    async handle({ references, now }, { message, path, caller }) {
      const { nodes = null, reason, ...ending } = await readBody(message, api.announceRequest, bodyBytes);
      const change = { nodes, reason, until: endOf(ending, now(), longestAnnouncement) };
      const announced = await existing(references.life.announce(nameIn(path), change, actorOf(caller)));
      return ok(referenceSummary(announced));
    },
  }),
  route('DELETE', '/v1/references/{name}/announce', 'operator', {
    operation: 'endAnnouncement',
    summary: 'Expect that change no longer: the reference is staged, as before',
    problems: [409],
    answer: api.referenceView,
    async handle({ references }, { path, caller }) {
      const ended = await existing(references.life.endAnnouncement(nameIn(path), actorOf(caller)));
      return ok(referenceSummary(ended));
    },
  }),
  route('POST', '/v1/references/{name}/delete', 'operator', {
    operation: 'deleteReference',
    summary: 'Delete a staged or retired reference: it makes room, and its name is free',
    problems: [409],
    body: api.referenceChange,
    answer: api.referenceDeleted,
    async handle({ references }, { message, path, caller }) {
      const { reason } = await readBody(message, api.referenceChange, bodyBytes);
      const name = nameIn(path);
      const isRemoved = await references.life.remove(name, reason, actorOf(caller)).catch(notNow);
      if (!isRemoved) throw noReference();
      return ok({ deleted: name });
    },
  }),
  ...referenceActions.map((action) =>
    route('POST', `/v1/references/{name}/${action}`, 'operator', {
      operation: `${action}Reference`,
      summary: changes[action],
      problems: [409],
      body: bodies[action],
      answer: api.referenceChanged,
      async handle({ references }, { message, path, caller }) {
        const body = await readBody(message, bodies[action], bodyBytes);
        const taint = 'taint' in body && body.taint;
        const change = references.life.change(nameIn(path), action, body.reason, actorOf(caller), taint);
        const changed = await existing(change);
        return ok({ ...referenceSummary(changed.reference), sharedWith: changed.sharedWith });
      },
    }),
  ),
  ...referenceActions.map((action) =>
    route('POST', `/v1/references/{name}/${action}/simulate`, 'operator', {
      operation: `simulate${action.charAt(0).toUpperCase()}${action.slice(1)}`,
      problems: [409, 429],
      summary: `What ${action} would make of the latest evidence of each node; nothing is stored; after is the \`next\` of the page before`,
      body: simulatedPage,
      answer: referenceTrial,
      async handle({ policies }, { message, path }) {
        const page = await readBody(message, simulatedPage, bodyBytes);
        const simulated = await existing(policies.simulateReference(nameIn(path), action, page));
        return ok({ ...simulated, reference: referenceSummary(simulated.reference) });
      },
    }),
  ),
];

/** Empty for a name that no reference can have. */
function nameIn({ name }: Readonly<Record<string, string>>): string {
  return plainName.safeParse(name).data ?? '';
}

/** @throws HttpProblem 404 if there is no reference of that name, 409 where it cannot be now */
async function existing<T>(step: Promise<T | null>): Promise<T> {
  const made = await step.catch(notNow);
  if (made === null) throw noReference();
  return made;
}

function noReference(): HttpProblem {
  return new HttpProblem(404, 'there is no such reference');
}

/** Refuses a name that is a word in the path of another route: it could not be read back. */
function checkWord(name: string): void {
  if (name === 'candidates') throw new HttpProblem(409, `${name} is a word of this API: choose another name`);
}

/** @throws HttpProblem if a node is not known, or the name is a word of this API */
async function captureOrder(
  {
    node,
    nodes: several,
    name,
    kind,
    staged,
    group,
    only,
    initrd,
    aggregate,
    reason,
    shown,
  }: api.CaptureRequestBody,
  store: ApiPorts['store'],
  actor: string,
): Promise<Parameters<ApiPorts['references']['capture']>[0]> {
  checkWord(name);
  const nodes = several ?? (node === undefined ? [] : [node]);
  for (const each of nodes) await findNode(store, each);
  return {
    nodes,
    name,
    kind,
    group: group ?? null,
    staged,
    only: only ?? null,
    initrd: initrd ?? false,
    aggregate: aggregate ?? true,
    reason: reason ?? null,
    shown: shown ?? null,
    actor,
  };
}

/** Evidence that cannot become a reference, or a state that does not allow it, is not a fault of ours: the message says why. */
function notNow(error: unknown): never {
  if (error instanceof Error && (error.name === 'CaptureError' || error.name === 'NotNow'))
    throw new HttpProblem(409, error.message);
  throw error;
}

function referenceSummary(given: Reference): api.ReferenceView {
  const { kind, name, group, state, expires, captured = null, changed = null } = given;
  const { announced, declared, runtime, aggregate } = given;
  const unseen = unseenFiles(given);
  const byValue = pcrsByValue(given);
  return {
    kind,
    name,
    group,
    state,
    expires,
    captured,
    changed,
    ...(announced !== undefined && { announced }),
    ...(declared !== undefined && { declared }),
    ...(unseen.length > 0 && { unseen: [...unseen] }),
    ...(byValue.length > 0 && { byValue }),
    ...(aggregate !== undefined && { aggregate }),
    ...(runtime !== undefined && {
      files: runtime.count,
      policies: runtime.policies?.length ?? 0,
      keys: runtime.keyrings?.length ?? 0,
    }),
  };
}
