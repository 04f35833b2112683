//! `crds DIR`: writes the CustomResourceDefinitions into a directory, as the chart has them.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        println!(
            "usage: crds DIR\nWrites one YAML file for each CustomResourceDefinition into DIR."
        );
        return ExitCode::from(2);
    };
    match write(&PathBuf::from(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("crds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    for (file, definition) in showrunner_crds::definitions() {
        std::fs::write(directory.join(file), showrunner_crds::to_yaml(&definition)?)?;
    }
    Ok(())
}
