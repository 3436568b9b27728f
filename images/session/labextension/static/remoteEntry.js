// JupyterLab's page shows what its server says that its user should know, as long as it says so. It tells the server when
// its user is there: a page that only lies open is no use of a session.
//
// JupyterLab loads an extension as a container of Webpack's module federation: an object with `init`, which is given the
// modules that all share, and `get`, which gives the extension's own. This file is such a container as it stands.
(() => {
  'use strict';

  const NAME = 'cygnet-notices';
  const EVERY_MS = 10000;
  const PATIENCE_MS = 15000;
  const SILENT =
    'Your session does not answer since {since}. Mostly files or software that it needs hang, and are being repaired; ' +
    'it goes on by itself.';
  let shared;

  /** A module that JupyterLab has loaded already. */
  async function module(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  /** A notice in words, with times as this browser's user writes them. */
  function words(notice) {
    const time = seconds => new Date(seconds * 1000).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
    return notice.text.replace('{since}', time(notice.since)).replace('{until}', time(notice.until));
  }

  /** Shows what is new, changes what reads otherwise now, and takes away what is no longer so. */
  function show(notices, shown, Notification, keep) {
    for (const [id, {toast}] of shown) {
      if (!notices.some(notice => notice.id === id)) {
        Notification.dismiss(toast);
        shown.delete(id);
      }
    }
    for (const notice of notices) {
      const text = words(notice);
      const before = shown.get(notice.id);
      if (!before) {
        const actions = notice.keep ? [{label: 'Keep the session', callback: keep}] : [];
        shown.set(notice.id, {text, toast: Notification.warning(text, {autoClose: false, actions})});
      } else if (before.text !== text) {
        Notification.update({id: before.toast, message: text, type: 'warning', autoClose: false});
        before.text = text;
      }
    }
  }

  async function activate(app) {
    const {Notification} = await module('@jupyterlab/apputils');
    const {ServerConnection} = await module('@jupyterlab/services');
    const settings = app.serviceManager.serverSettings;
    const shown = new Map();
    let isThere = false;

    function keep() {
      isThere = true;
      void look();
    }

    async function look() {
      const asked = {id: 'session', text: SILENT, since: Date.now() / 1000};
      // What a mount holds can hold the whole server. Where the cause was told already, that stays.
      const late = setTimeout(() => shown.size || show([asked], shown, Notification), PATIENCE_MS);
      const method = isThere ? 'POST' : 'GET';
      isThere = false;
      try {
        const answer = await ServerConnection.makeRequest(`${settings.baseUrl}cygnet/notices`, {method}, settings);
        if (answer.ok) {
          show(await answer.json(), shown, Notification, keep);
        }
      } catch (error) {
        // There is no connection: JupyterLab itself tells that.
        isThere = isThere || method === 'POST';
      } finally {
        clearTimeout(late);
      }
    }

    async function goOn() {
      if (!document.hidden) {
        await look();
      }
      setTimeout(goOn, EVERY_MS);
    }

    for (const sign of ['keydown', 'pointerdown', 'wheel']) {
      window.addEventListener(sign, () => (isThere = true), {capture: true, passive: true});
    }
    void goOn();
  }

  const plugin = {id: `${NAME}:plugin`, description: 'Shows notices of the server', autoStart: true, activate};

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: modules => {
      shared = modules;
    },
    get: async () => {
      const extension = {__esModule: true, default: plugin};
      return () => extension;
    }
  };
})();
