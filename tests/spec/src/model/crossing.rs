//! What a restore makes of the world: itself, but for law 4.

use super::{Doing, Model, Object, Serves};
use abi::Status;
use std::collections::{BTreeMap, VecDeque};

impl Model {
    /// The world alone, as it comes back: who ran is the next of its priority; who waited inside the world waits on;
    /// faults happen again; a caller whose Reply no process of the world held asks again if its call may be repeated,
    /// where it stood in line, and is told `Restarted` if not. Who goes on so comes behind those that were ready. Times
    /// count from now.
    pub fn crossed(&self) -> Self {
        let mut world = self.clone();
        for cpu in 0..world.cpus.len() {
            if let Some(thread) = world.cpus[cpu].runs.filter(|&thread| world.is_world_thread(thread)) {
                let ticket = world.draw_ticket();
                world.thread_mut(thread).ticket = -ticket;
            }
        }
        world.keep_world();
        world.queue_again();
        let callers: Vec<u32> = world.threads.keys().copied().collect();
        for &thread in &callers {
            match world.thread(thread).doing {
                Doing::Faulting(_) | Doing::AwaitFault => world.wake(thread),
                Doing::AwaitReply if !world.reply_is_held(thread) => world.lose_reply(thread, Status::Restarted),
                _ => {}
            }
        }
        world
    }

    /// Forgets everything volatile, and what only this boot knows. Times count from now.
    pub fn keep_world(&mut self) {
        let [processes, threads, endpoints, notifications, budgets] = self.world;
        self.processes.retain(|&process, _| process < processes);
        self.threads.retain(|&thread, _| thread < threads);
        self.endpoints.retain(|&endpoint, _| endpoint < endpoints);
        self.notifications.retain(|&notification, _| notification < notifications);
        self.budgets.retain(|&budget, _| budget < budgets);
        self.caps.retain(|&(process, _), _| process < processes);
        let is_world = |thread: &u32| *thread < threads;
        for endpoint in self.endpoints.values_mut() {
            endpoint.queue.retain(is_world);
        }
        for notification in self.notifications.values_mut() {
            notification.queue.retain(is_world);
        }
        for queue in self.ready.values_mut() {
            queue.retain(is_world);
        }
        self.ready.retain(|_, queue| !queue.is_empty());
        for thread in self.threads.values_mut() {
            thread.deadline = thread.deadline.map(|at| at.saturating_sub(self.now));
        }
        for process in self.processes.values_mut() {
            process.name = 0;
        }
        self.now = 0;
        self.interrupts.clear();
        self.devices = super::Devices::default();
        (self.committed, self.world_ahead) = (0, 0);
        self.pages = super::Pages::default();
        for cpu in &mut self.cpus {
            cpu.runs = None;
            cpu.slice = None;
        }
    }

    fn reply_is_held(&self, caller: u32) -> bool {
        self.threads.values().any(|thread| thread.serves == Some(Serves::Caller(caller)))
            || self.caps.values().any(|cap| cap.object == Object::Reply(caller))
    }

    /// Queues are in the order of tickets.
    fn queue_again(&mut self) {
        let mut order: Vec<(i64, u32)> = self.threads.iter().map(|(&number, thread)| (thread.ticket, number)).collect();
        order.sort_unstable();
        self.ready = BTreeMap::new();
        for endpoint in self.endpoints.values_mut() {
            endpoint.queue = VecDeque::new();
        }
        for notification in self.notifications.values_mut() {
            notification.queue = VecDeque::new();
        }
        for (_, thread) in order {
            let (doing, priority) = (self.thread(thread).doing, self.thread(thread).priority);
            match doing {
                Doing::Ready => self.ready.entry(priority).or_default().push_back(thread),
                Doing::Calling(e) | Doing::Sending(e) | Doing::Receiving(e) | Doing::Faulting(e) => {
                    self.endpoints.get_mut(&e).expect("it lives").queue.push_back(thread);
                }
                Doing::Waiting(n) => self.notifications.get_mut(&n).expect("it lives").queue.push_back(thread),
                _ => {}
            }
        }
    }
}
