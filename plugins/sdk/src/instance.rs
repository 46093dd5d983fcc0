//! The configured plugin of one component instance. A guest has one thread, and
//! the host doesn't call into an instance that is still at work.

use std::cell::RefCell;

use crate::PluginError;

/// Holds nothing until `configure` was called or a stage ran without it.
pub struct Instance<T>(RefCell<Option<T>>);

impl<T> Instance<T> {
    /// Nothing is configured yet.
    pub const fn new() -> Instance<T> {
        Instance(RefCell::new(None))
    }

    /// Takes a plugin in the place of whichever was there.
    pub fn set(&self, plugin: T) {
        self.0.replace(Some(plugin));
    }

    /// Calls the plugin; without one, `configure` makes it from the defaults first.
    pub fn run<P: Default, R>(
        &self,
        configure: impl FnOnce(P) -> Result<T, PluginError>,
        work: impl FnOnce(&T) -> Result<R, PluginError>,
    ) -> Result<R, PluginError> {
        if self.0.borrow().is_none() {
            self.set(configure(P::default())?);
        }
        match self.0.borrow().as_ref() {
            Some(plugin) => work(plugin),
            None => Err(PluginError::Internal("the plugin is not configured".into())),
        }
    }
}

impl<T> Default for Instance<T> {
    fn default() -> Instance<T> {
        Instance::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_serve_until_something_is_configured() {
        let instance = Instance::new();
        let configure = |parameter: u32| Ok(parameter + 1);
        assert_eq!(instance.run(configure, |&plugin| Ok(plugin)), Ok(1));
        instance.set(7);
        assert_eq!(instance.run(configure, |&plugin| Ok(plugin)), Ok(7));
    }

    #[test]
    fn defaults_that_are_refused_are_an_error_and_not_kept() {
        let instance = Instance::<u32>::new();
        let refused = PluginError::BadConfig("no".into());
        let configure = |_: u32| Err(PluginError::BadConfig("no".into()));
        assert_eq!(instance.run(configure, |_| Ok(())), Err(refused));
        assert_eq!(instance.run(|_: u32| Ok(3), |&plugin| Ok(plugin)), Ok(3));
    }
}
