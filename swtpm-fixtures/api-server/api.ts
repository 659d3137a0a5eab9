import { setTimeout as delay } from 'node:timers/promises';
import type { Admission } from './admission.ts';
import { type ApiRequest, parseResourceRequest, parseTarget, type ResourceRequest } from './api-request.ts';
import { type Action, type Authorizer, refusalOf } from './authorizer.ts';
import { type DecodedBody, decodeBody, mediaTypeOf } from './decode.ts';
import { discover, type VirtualResource, version } from './discovery.ts';
import { errorOf, type Faults } from './faults.ts';
import { isObject, type Json, type JsonObject, type KubeObject } from './json.ts';
import { listText } from './list.ts';
import type { ObjectStore } from './object-store.ts';
import { type Caller, ObjectVerbs, type Outcome } from './object-verbs.ts';
import { describeApi } from './openapi.ts';
import type { RequestLog } from './request-log.ts';
import { keyOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import * as status from './status.ts';
import type { User } from './users.ts';
import { openWatch, type Watch } from './watch.ts';

export type Answer =
  | {
      readonly code: number;
      readonly contentType: string;
      readonly text: string;
      /** Seconds. */
      readonly retryAfter?: number;
      /** For the header `Warning`. */
      readonly warnings?: readonly string[];
    }
  | { readonly code: 200; readonly watch: Watch; readonly resource: string }
  /** The connection ends without an answer. */
  | { readonly code: 0 };

/** A resource that is asked with POST and never stored. */
export interface Question extends VirtualResource {
  answer(body: JsonObject, user: User): JsonObject;
}

export interface ApiParts {
  readonly store: ObjectStore;
  /** Those of custom resources come and go. */
  readonly types: () => readonly ResourceType[];
  /** What stands at a path that is about no resource. */
  readonly pages: ReadonlyMap<string, () => JsonObject>;
  readonly questions: readonly Question[];
  /** POST to a subresource that makes something else, such as a token. */
  readonly makers: readonly Maker[];
  readonly authorizer: Authorizer;
  readonly admission: Admission;
  readonly faults: Faults;
  readonly log: RequestLog;
  readonly now: () => number;
  /** An object of this type is new. */
  readonly made: (type: ResourceType, object: KubeObject) => void;
  /** An object of this type went for good. */
  readonly removed: (type: ResourceType, object: KubeObject) => void;
}

export interface Maker {
  readonly plural: string;
  readonly subresource: string;
  make(request: ResourceRequest, body: JsonObject, user: User): JsonObject;
}

/** The API behind its door: who asks is known, and an answer is made. */
export class Api {
  readonly #parts: ApiParts;
  readonly #verbs: ObjectVerbs;

  constructor(parts: ApiParts) {
    const { store, now, admission, log, made, removed } = parts;
    this.#parts = parts;
    this.#verbs = new ObjectVerbs({
      store,
      now,
      admission,
      made,
      removed,
      wrote: (write) => log.note(write),
    });
  }

  /** Never rejects. */
  async handle(request: ApiRequest): Promise<Answer> {
    let about: ResourceRequest | null = null;
    let answer: Answer;
    try {
      about = parseResourceRequest(request.method, request.target);
      answer = await this.#struck(request, about);
    } catch (error) {
      answer = answerOf(error);
    }
    const verb = about?.verb ?? request.method.toLowerCase();
    const resource = about === null ? '' : about.resource + (about.subresource && `/${about.subresource}`);
    this.#parts.log.count(request.user.name, verb, resource, answer.code);
    return answer;
  }

  async #struck(request: ApiRequest, about: ResourceRequest | null): Promise<Answer> {
    const { user } = request;
    const effects = this.#parts.faults.strike(user, about);
    for (const effect of effects) {
      if (effect.kind === 'latency') await delay(effect.ms, undefined, { ref: false });
      if (effect.kind === 'drop') return { code: 0 };
      const error = errorOf(effect, about);
      if (error !== null) throw error;
    }
    const answer = this.#answer(request, about);
    for (const effect of effects) {
      if (effect.kind === 'hang') await delay(effect.ms, undefined, { ref: false });
      if (effect.kind === 'drop_answer') return { code: 0 };
    }
    return answer;
  }

  #answer(request: ApiRequest, about: ResourceRequest | null): Answer {
    const path = parseTarget(request.target).pathname;
    const action: Action =
      about === null
        ? { verb: request.method === 'HEAD' ? 'get' : request.method.toLowerCase(), path }
        : { ...about, name: about.name || about.onlyName };
    this.#checkAllowed(request.user, action);
    return about === null ? this.#plain(path) : this.#resource(request, about);
  }

  #checkAllowed(user: User, action: Action): void {
    if (this.#parts.authorizer.authorize(user, action).allowed) return;
    const why = refusalOf(user, action);
    if ('path' in action) throw new status.ApiError(403, 'Forbidden', `forbidden: ${why}`, {});
    throw status.forbidden(action, why);
  }

  #plain(path: string): Answer {
    if (path === '/version' || path === '/version/') return jsonAnswer(200, version);
    if (['/livez', '/readyz', '/healthz'].includes(path)) return textAnswer(200, 'ok');
    const page = this.#parts.pages.get(path);
    if (page !== undefined) return jsonAnswer(200, page());
    const its = path.replace(/\/$/, '');
    const types = this.#parts.types();
    const found = discover(its, types, this.#parts.questions) ?? describeApi(its, types);
    return found === null ? noPage() : jsonAnswer(200, found);
  }

  #resource(request: ApiRequest, about: ResourceRequest): Answer {
    const { verb, group, resource, subresource } = about;
    const question = this.#parts.questions.find(
      (other) => other.group === group && other.plural === resource && other.version === about.version,
    );
    if (question !== undefined) {
      if (verb !== 'create') throw status.methodNotAllowed({ group, resource }, verb);
      return jsonAnswer(201, question.answer(neededBody(request), request.user));
    }
    const type = this.#parts
      .types()
      .find((other) => other.group === group && other.plural === resource && other.version === about.version);
    if (type === undefined) {
      // The real one has a page for what no group or definition serves, and no object.
      if (!this.#parts.types().some((other) => other.group === group && other.schema === null))
        return noPage();
      throw status.noSuchResource();
    }
    if (subresource !== '' && !type.subresources.includes(subresource)) throw status.noSuchResource();
    if (type.namespaced && about.namespace === '' && (about.name !== '' || verb === 'create')) {
      if (verb === 'create') throw status.badRequest('an empty namespace may not be set during creation');
      throw status.noSuchResource();
    }
    const maker = this.#parts.makers.find(
      (other) => other.plural === resource && other.subresource === subresource && group === '',
    );
    if (maker !== undefined) {
      if (verb !== 'create') throw status.methodNotAllowed({ group, resource }, verb);
      return jsonAnswer(201, maker.make(about, neededBody(request), request.user));
    }
    return this.#stored(request, about, type);
  }

  #stored(request: ApiRequest, about: ResourceRequest, type: ResourceType): Answer {
    const warnings: string[] = [];
    const caller: Caller = {
      user: request.user,
      warn: (texts) => warnings.push(...texts),
      manager: about.query.get('fieldManager') || managerOf(request.userAgent),
      checkMayCreate: () => this.#checkAllowed(request.user, { ...about, verb: 'create' }),
    };
    switch (about.verb) {
      case 'get':
        return jsonAnswer(200, this.#verbs.get(type, about));
      case 'list':
        return { code: 200, contentType: 'application/json', text: listText(this.#parts.store, type, about) };
      case 'watch':
        return { code: 200, watch: openWatch(this.#parts.store, type, about), resource: type.plural };
      case 'create': {
        if (about.name !== '') throw status.methodNotAllowed(about, 'POST');
        const outcome = this.#verbs.create(type, about, caller, bodyOf(request));
        return outcomeAnswer(outcome, warnings);
      }
      case 'update': {
        if (about.name === '') throw status.methodNotAllowed(about, 'PUT');
        const outcome = this.#verbs.update(type, about, caller, bodyOf(request));
        return outcomeAnswer(outcome, warnings);
      }
      case 'patch': {
        if (about.name === '') throw status.methodNotAllowed(about, 'PATCH');
        const patchType = mediaTypeOf(request.contentType);
        const patch = decodeBody(request.body, request.contentType);
        const outcome = this.#verbs.patch(type, about, caller, patchType, patch);
        return outcomeAnswer(outcome, warnings);
      }
      case 'delete': {
        const options = optionsOf(request);
        const outcome = this.#verbs.delete(type, about, caller, options);
        return outcomeAnswer(outcome, warnings);
      }
      case 'deletecollection':
        return this.#deleteAll(request, about, type, caller);
    }
  }

  #deleteAll(request: ApiRequest, about: ResourceRequest, type: ResourceType, caller: Caller): Answer {
    const matches = matcherOf(about.query);
    const options = optionsOf(request);
    const found = this.#parts.store
      .list(tableOf(type), about.namespace === '' ? '' : keyOf(about.namespace, ''))
      .map(([, { object }]) => object)
      .filter((object) => matches?.(object) ?? true);
    for (const { metadata } of found) {
      const one = { ...about, name: metadata.name, namespace: metadata.namespace ?? '' };
      this.#verbs.delete(type, one, caller, options);
    }
    return jsonAnswer(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' });
  }
}

function answerOf(error: unknown): Answer {
  const told =
    error instanceof status.ApiError
      ? error
      : status.internalError(error instanceof Error ? error.message : String(error));
  const answer = jsonAnswer(told.code, told.status());
  return told.retryAfter === null ? answer : { ...answer, retryAfter: told.retryAfter };
}

function outcomeAnswer({ code, object, warnings: own = [] }: Outcome, others: readonly string[]): Answer {
  const warnings = [...own, ...others];
  return { ...jsonAnswer(code, object), ...(warnings.length > 0 && { warnings }) };
}

function jsonAnswer(code: number, object: JsonObject) {
  return { code, contentType: 'application/json', text: JSON.stringify(object) };
}

function noPage(): Answer {
  return textAnswer(404, '404 page not found\n');
}

function textAnswer(code: number, text: string): Answer {
  return { code, contentType: 'text/plain; charset=utf-8', text };
}

function neededBody({ body, contentType }: ApiRequest): JsonObject {
  const { value: decoded } = decodeBody(body, contentType);
  if (!isObject(decoded)) throw status.badRequest('the request needs an object as its body');
  return decoded;
}

/** Of a write that is no patch. */
function bodyOf({ body, contentType }: ApiRequest): DecodedBody {
  if (body.length === 0) throw status.badRequest('the object provided is unrecognized: the body is empty');
  return decodeBody(body, contentType);
}

function optionsOf({ body, contentType }: ApiRequest): Json {
  return body.length === 0 ? {} : decodeBody(body, contentType).value;
}

function managerOf(userAgent: string): string {
  return userAgent.split(/[/ ]/)[0] || 'unknown';
}
