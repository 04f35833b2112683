/** The entry of the room page. */

import { element, showTemplate } from './dom';
import { hostPage } from './host';
import { parseRoute, tokenIn } from './route';
import { watchPage } from './watch';

const route = parseRoute(location.pathname);
if (route) {
  document.title = `${route.room} · Showrunner`;
  showTemplate(route.isHost ? 'host-page' : 'watch-page');
  element('room', HTMLElement).textContent = `${route.namespace}/${route.room}`;
  const token = tokenIn(location.hash);
  if (route.isHost) hostPage(route, token);
  else watchPage(route, token);
} else {
  const message = document.createElement('p');
  message.className = 'message';
  message.textContent = 'No room has this address. Rooms are at /rooms/{namespace}/{room}.';
  document.body.append(message);
}
