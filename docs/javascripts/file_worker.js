// Browsers start no worker from a page that was opened from a disk, and the search is a worker.
// There, this class runs the program of the worker in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.send = (data) => inside.dispatchEvent(new MessageEvent("message", { data }));
      this.waiting = [];
      const program = inside.document.createElement("script");
      program.src = address;
      program.onload = () => {
        this.waiting.forEach(this.send);
        this.waiting = null;
      };
      inside.document.body.append(program);
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.send(data);
    }

    terminate() {}
  };
}
